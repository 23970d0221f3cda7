"""A line of numbers for every step, in a CSV file that survives a crash."""

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

JOURNAL_FILE: Final = "journal.csv"


@dataclass(frozen=True, kw_only=True)
class Entry:
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


class Journal:
    """Appends entries to `journal.csv` in a run's folder.

    Args:
        run: the folder.
        steps_done: entries of later steps, left by a run that was killed after its last checkpoint, are dropped.
    """

    def __init__(self, run: Path, steps_done: int) -> None:
        self._path = run / JOURNAL_FILE
        names = [field.name for field in fields(Entry)]
        kept = [row for row in read_journal(run) if int(row["step"]) < steps_done]
        part = run / f"{JOURNAL_FILE}.part"
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(kept)
        part.replace(self._path)

    def write(self, entry: Entry) -> None:
        """Append one entry."""
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(asdict(entry).values())


def read_journal(run: Path) -> list[dict[str, str]]:
    """All entries of a run, as text; none if it has no journal yet."""
    path = run / JOURNAL_FILE
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
