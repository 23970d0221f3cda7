"""The two sets of scoring rules. A module of its own, so that the command line imports nothing slow for its options."""

from enum import StrEnum


class Mode(StrEnum):
    """`fixed` is for research, `official` reproduces the organizers' numbers; `protocol` says where they differ."""

    FIXED = "fixed"
    OFFICIAL = "official"
