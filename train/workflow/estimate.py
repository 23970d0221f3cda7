"""How long a stage will take: as stated, or by the steps that a training run has done so far."""

import statistics
from dataclasses import dataclass
from typing import Final

from train.record.journal import read_journal
from train.workflow.stage import Stage

_LAST: Final = 200
"""Steps whose median says how long one takes."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a stage still takes.

    Attributes:
        seconds: until it is done.
        disk_bytes: it leaves.
        measured: whether the seconds are those of its own steps so far.
    """

    seconds: float
    disk_bytes: float
    measured: bool = False


def estimate(stage: Stage, continues: bool = False) -> Estimate:
    """What a stage takes: from the beginning, or from where its output stands if it continues."""
    amount = stage.amount
    rows = read_journal(stage.output) if amount.steps and continues else []
    if rows:
        seconds = statistics.median(float(row["seconds"]) for row in rows[-_LAST:])
        left = max(0, amount.steps - int(rows[-1]["step"]) - 1)
        return Estimate(seconds=left * seconds, disk_bytes=amount.disk_bytes, measured=True)
    return Estimate(seconds=amount.seconds, disk_bytes=amount.disk_bytes)
