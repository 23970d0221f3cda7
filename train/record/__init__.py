"""Records of a training run: journal, curves and pictures."""
