"""Numbers that bound a spool."""

from dataclasses import dataclass
from typing import Final

MIB: Final = 2**20
GIB: Final = 2**30
DAY_SECONDS: Final = 86400.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a service takes and keeps.

    Attributes:
        most_waiting: jobs that may wait; one more is refused.
        upload_bytes: the largest upload.
        keep_seconds: how long a job is kept after its end.
        keep_bytes: how much the jobs that have ended may take on the disk; the oldest go first.
        keep_jobs: how many jobs that have ended are kept.
        free_bytes: what an upload leaves free on the disk, for results.
        most_starts: how often a job may begin that never ends because the program does.
    """

    most_waiting: int = 32
    upload_bytes: int = 2 * GIB
    keep_seconds: float = 7 * DAY_SECONDS
    keep_bytes: int = 20 * GIB
    keep_jobs: int = 10_000
    free_bytes: int = 256 * MIB
    most_starts: int = 5


def limits_of(most_waiting: int, upload_mib: int, keep_days: float, keep_gib: float, free_mib: int) -> Limits:
    """Limits in the units in which people give them; the arguments are those of `Limits`."""
    return Limits(
        most_waiting=most_waiting,
        upload_bytes=upload_mib * MIB,
        keep_seconds=keep_days * DAY_SECONDS,
        keep_bytes=round(keep_gib * GIB),
        free_bytes=free_mib * MIB,
    )
