"""How many cases there are of each kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of cases, known before anything starts.

    Attributes:
        labeled: cases with expert labels.
        lacking: of these, those whose organs are to be filled in.
        tumors: of these, those that train and annotate tumors.
        unlabeled: cases without labels.
        tests: of each set of test cases.
    """

    labeled: int
    lacking: int
    tumors: int
    unlabeled: int
    tests: Mapping[str, int] = field(default_factory=dict)
