"""What a training writes down: the journal, curves and pictures."""
