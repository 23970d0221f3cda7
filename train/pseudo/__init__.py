"""Pseudo labels: how sure models are of them, which are believed, and what they make with those of experts."""
