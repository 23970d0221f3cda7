"""The interface for Python: what `import flare_infer` offers."""
