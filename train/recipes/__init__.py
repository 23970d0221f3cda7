"""What a training does, in numbers."""
