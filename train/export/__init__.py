"""From a training run to weights."""
