"""Export of a training run as a weights directory."""
