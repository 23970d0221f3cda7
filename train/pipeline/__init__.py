"""The protocol of the paper as one command: stages, their stamps, and what runs them."""
