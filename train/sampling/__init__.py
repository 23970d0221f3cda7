"""Which cases and patches a training step uses."""
