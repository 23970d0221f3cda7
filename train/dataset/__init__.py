"""A data set as people hand it in: cases, labels, splits, checks and cleaning."""
