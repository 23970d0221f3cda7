"""The paper's training from data to weights, as stages."""
