"""Scoring of label maps against references, by the rules of the FLARE 2023 challenge."""
