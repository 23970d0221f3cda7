"""Seconds and memory of a submission over time."""
