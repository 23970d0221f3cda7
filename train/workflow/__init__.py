"""Stages that depend on each other, run once each and again when what went into them changes."""
