"""Which of the two sets of rules scores are made by; a module of its own, so that the command line starts at once."""

from enum import StrEnum


class Mode(StrEnum):
    """`fixed` is for research, `official` reproduces the organizers' numbers: `protocol` says where they differ."""

    FIXED = "fixed"
    OFFICIAL = "official"
