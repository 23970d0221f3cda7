"""Models of nnU-Net: in, without running any code of theirs, and out, as its own predictor loads them."""
