"""CSV files with a row for every step, and a row for every validation."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from flare_infer.label_set import FLARE23, LabelSet
from train.record.csv_table import CsvTable, read_table
from train.record.score import Score

JOURNAL_FILE: Final = "journal.csv"
VALIDATION_FILE: Final = "validation.csv"


@dataclass(frozen=True, kw_only=True)
class StepEntry:
    """The journal's row of one step.

    Attributes:
        step: number of the step, counted from 0.
        loss: loss of its batch.
        learning_rate: its learning rate.
        gradient_norm: norm of its gradient before clipping.
        seconds: duration.
        skipped: whether its gradient was not finite, so that it changed nothing.
        pasted: number of samples with a pasted tumor.
        lost: number of samples without one because no drawn position kept a tumor voxel.
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
    """The row of one validation.

    Attributes:
        step: number of steps done before it.
        seconds: duration.
        score: its score.
        mean: exponential mean of all scores up to this one; None if no class could be judged so far.
        best: whether this mean is the highest so far.
    """

    step: int
    seconds: float
    score: Score
    mean: float | None
    best: bool


class StepJournal:
    """Appends entries to `journal.csv` in a run's folder.

    Args:
        run: folder of the run.
        steps_done: number of steps done at the checkpoint; rows of later steps, which a killed run left, are dropped.
    """

    def __init__(self, run: Path, steps_done: int) -> None:
        names = [field.name for field in fields(StepEntry)]
        self._table = CsvTable(run / JOURNAL_FILE, names, lambda row: int(row["step"]) < steps_done)

    def write(self, entry: StepEntry) -> None:
        """Append one entry."""
        self._table.write(asdict(entry).values())


def read_journal(run: Path) -> list[dict[str, str]]:
    """All rows of a run's journal as text; none if it has no journal yet."""
    return read_table(run / JOURNAL_FILE)


class ValidationJournal:
    """Appends validations to `validation.csv`: the DSC of each class, in the order of the codes, and the scores.

    `ema` is the exponential mean of the scores. Values that could not be determined are empty.

    Args:
        run: folder of the run.
        validated: number of steps done at the last validation recorded in the checkpoint; later rows are dropped.
        label_set: the classes.
    """

    def __init__(self, run: Path, validated: int, label_set: LabelSet = FLARE23) -> None:
        self._codes = label_set.codes
        names = ("step", "seconds", *label_set.names[1:], "organs", "score", "ema")
        self._table = CsvTable(run / VALIDATION_FILE, names, lambda row: int(row["step"]) <= validated)

    def write(self, validated: ValidationEntry) -> None:
        """Append one validation."""
        score = validated.score
        classes = [score.dice.get(code) for code in self._codes]
        self._table.write([validated.step, validated.seconds, *classes, score.organs, score.score, validated.mean])
