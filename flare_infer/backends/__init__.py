"""Where a network runs: the device, its memory, and the engine."""
