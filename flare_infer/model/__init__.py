"""A model: its specification, its network and its weights on disk."""
