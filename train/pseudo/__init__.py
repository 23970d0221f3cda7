"""Pseudo labels: their uncertainty, the selection of cases, and the merging with experts' labels."""
