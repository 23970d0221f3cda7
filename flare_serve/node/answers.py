"""What came of an attempt to hand a result to an archive."""

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """What came of an attempt."""

    STORED = "stored"
    LATER = "later"
    NEVER = "never"


@dataclass(frozen=True)
class Answer:
    """What an archive said.

    Attributes:
        result: whether it has the object now, may take it later, or never will.
        text: in words, without anything of a patient.
    """

    result: Result
    text: str
