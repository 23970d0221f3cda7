"""Loss functions for cases that annotate only some of the classes."""
