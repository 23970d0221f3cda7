"""CT that is painted, not scanned: for tests, for the demo, and for cohorts whose truth is known in every voxel."""
