"""Cases prepared for training, in files that open at once."""
