"""Patches, augmented and put together, in parallel."""
