"""Inference core: a CT goes in, a label map of abdominal organs and tumors comes out."""

__version__ = "0.1.0"
