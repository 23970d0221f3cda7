"""Label maps as they are scored: read, boxed, and annotated by class."""
