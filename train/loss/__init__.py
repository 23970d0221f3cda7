"""What a prediction costs when only some classes are annotated."""
