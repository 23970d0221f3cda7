"""What a label map says to people: volumes and pictures."""
