"""Training: partial labels in, a weights directory out."""
