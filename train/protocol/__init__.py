"""Trainings from data to weights as stages: the protocol of the paper, and that of the shipped weights."""
