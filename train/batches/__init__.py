"""Drawing and augmenting the patches of each step, in parallel processes."""
