"""Painted CTs for tests, for the demo, and for cohorts whose true labels are known in every voxel."""
