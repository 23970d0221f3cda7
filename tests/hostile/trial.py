"""One line of what was tried against the program, and what happened."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What was tried, and what came of it.

    Attributes:
        area: of the table: kills, world, load, ...
        tried: in words.
        happened: in words, with numbers.
        wrong: each thing that should not have happened, in words; empty if all went well.
    """

    area: str
    tried: str
    happened: str
    wrong: tuple[str, ...] = ()
