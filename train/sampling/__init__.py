"""Which case and which patch trains next."""
