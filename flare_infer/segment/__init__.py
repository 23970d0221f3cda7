"""From a volume to its label map, within a budget of memory."""
