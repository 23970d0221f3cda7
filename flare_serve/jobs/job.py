"""What a job is, and the names of its results."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

RESULTS: Final[Mapping[str, str]] = {
    "labels.nii.gz": ".nii.gz",
    "seg.dcm": ".seg.dcm",
    "rtstruct.dcm": ".rtstruct.dcm",
    "statistics.json": ".statistics.json",
    "report.html": ".report.html",
}
"""By the name under which a result is asked for, the ending of its file; DICOM is made of DICOM series only."""


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


ENDED: Final = (State.DONE, State.FAILED)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One scan that was handed in.

    Attributes:
        id: 32 random hexadecimal digits, which nobody guesses.
        name: what the sender calls it; shown to senders, never part of a path or a log.
        origin: who handed it in: "http", or what a node calls its own.
        series: which series of DICOM is segmented: largest, or a SeriesInstanceUID.
        state: where it is.
        created: when it was accepted, in seconds since 1970, as all times here.
        began: when its last start was; 0 if it never began.
        ended: when it was done or failed; 0 before.
        starts: how often it was started; more than once if the program ended in the middle of it.
        place: how many jobs go before it, if it is queued; else 0.
        reason: one line that says why it failed; empty if it did not.
        notices: lines on its scan that the user should see.
        flags: kinds of doubts about its result (docs/statistics.md).
        windows_ran: windows that the network ran.
        windows: windows of the whole scan; 0 before the job is done.
        seconds: reading, segmenting and writing.
        size: bytes that it takes on the disk.
    """

    id: str
    name: str
    origin: str
    series: str
    state: State
    created: float
    began: float = 0.0
    ended: float = 0.0
    starts: int = 0
    place: int = 0
    reason: str = ""
    notices: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    windows_ran: int = 0
    windows: int = 0
    seconds: float = 0.0
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended.

    Attributes:
        reason: one line that says why it failed; empty if it is done.
        notices: lines on its scan that the user should see.
        flags: kinds of doubts about its result.
        windows_ran: windows that the network ran.
        windows: windows of the whole scan.
        seconds: reading, segmenting and writing.
    """

    reason: str = ""
    notices: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    windows_ran: int = 0
    windows: int = 0
    seconds: float = 0.0
