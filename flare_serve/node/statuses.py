"""Statuses of C-STORE (PS3.4, B.2.3, and PS3.7, C), and what they mean to somebody who sends."""

from typing import Final

SUCCESS: Final = 0x0000
INVALID_INSTANCE: Final = 0x0117
DUPLICATE_INSTANCE: Final = 0x0111
CLASS_NOT_SUPPORTED: Final = 0x0122
OUT_OF_RESOURCES: Final = 0xA700
DOES_NOT_MATCH_CLASS: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000

_WARNINGS: Final = frozenset({0x0001, 0xB000, 0xB006, 0xB007})


def is_stored(status: int) -> bool:
    """Whether an archive has an instance: it stored it, stored it with a change, or had it before."""
    return status in {SUCCESS, DUPLICATE_INSTANCE} or status in _WARNINGS


def is_final(status: int) -> bool:
    """Whether an archive will never take an instance, so that sending it again is of no use."""
    return status in {INVALID_INSTANCE, CLASS_NOT_SUPPORTED} or 0xA900 <= status <= 0xA9FF or 0xC000 <= status <= 0xCFFF
