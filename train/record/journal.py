"""A line of numbers for every step, and one for every validation, in CSV files that survive a crash."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from flare_infer.labels import CODES, NAMES
from train.record.csv_table import CsvTable, read_table
from train.record.score import Score

JOURNAL_FILE: Final = "journal.csv"
VALIDATION_FILE: Final = "validation.csv"


@dataclass(frozen=True, kw_only=True)
class StepEntry:
    """One step: its loss, the norm of its gradient before clipping, and how long it took.

    Attributes:
        step: counted from 0.
        loss: of its batch.
        learning_rate: it was taken with.
        gradient_norm: before clipping.
        seconds: it took.
        skipped: whether its gradient was not finite, and changed nothing.
        pasted: samples with a pasted tumor.
        lost: samples that should have had one but kept no tumor voxel at any of the places drawn.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float
    skipped: bool
    pasted: int = 0
    lost: int = 0


@dataclass(frozen=True, kw_only=True)
class ValidationEntry:
    """One validation.

    Attributes:
        step: steps done before it.
        seconds: it took.
        score: what it found.
        mean: exponential mean of the scores up to this one; None before there was any.
        best: whether that mean is the highest so far.
    """

    step: int
    seconds: float
    score: Score
    mean: float | None
    best: bool


class StepJournal:
    """Appends entries to `journal.csv` in a run's folder.

    Args:
        run: the folder.
        steps_done: entries of later steps, left by a run that was killed after its last checkpoint, are dropped.
    """

    def __init__(self, run: Path, steps_done: int) -> None:
        names = [field.name for field in fields(StepEntry)]
        self._table = CsvTable(run / JOURNAL_FILE, names, lambda row: int(row["step"]) < steps_done)

    def write(self, entry: StepEntry) -> None:
        """Append one entry."""
        self._table.write(asdict(entry).values())


def read_journal(run: Path) -> list[dict[str, str]]:
    """All entries of a run, as text; none if it has no journal yet."""
    return read_table(run / JOURNAL_FILE)


class ValidationJournal:
    """Appends validations to `validation.csv`: the DSC of each class, the tumor's last, and what follows from them.

    `ema` is the exponential mean of the scores. What could not be judged is empty.

    Args:
        run: the run's folder.
        validated: steps done at the last validation that the checkpoint knows; later rows are dropped.
    """

    def __init__(self, run: Path, validated: int) -> None:
        names = ("step", "seconds", *(NAMES[code] for code in CODES), "organs", "score", "ema")
        self._table = CsvTable(run / VALIDATION_FILE, names, lambda row: int(row["step"]) <= validated)

    def write(self, validated: ValidationEntry) -> None:
        """Append one validation."""
        score = validated.score
        classes = [score.dice.get(code) for code in CODES]
        self._table.write([validated.step, validated.seconds, *classes, score.organs, score.score, validated.mean])
