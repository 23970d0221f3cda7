"""Random changes of a patch: parameters are drawn, then applied by pure functions."""
