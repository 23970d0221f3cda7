"""The files of a report: `scores.csv` for machines, `summary.md` for people."""

import csv
import io
import os
from pathlib import Path
from typing import Final

from flare_eval.scoring import FolderScores
from flare_eval.tables import to_markdown
from flare_infer import labels
from flare_infer.errors import UsageError

CSV_HEADER: Final = ("case", "class", "name", "dsc", "nsd")
"""Columns of `scores.csv`; `class` is the code, `nsd` is empty until surface scores exist."""


def write_report(folder: Path, scores: FolderScores) -> None:
    """Write `scores.csv` and `summary.md` into `folder`, which is made if need be; each appears only when it is whole.

    Raises:
        UsageError: if the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_text(folder / "scores.csv", to_csv(scores))
        _write_text(folder / "summary.md", to_markdown(scores))
    except OSError as error:
        raise UsageError(f"{folder}: cannot write here ({error.strerror}); choose another output folder") from error


def to_csv(scores: FolderScores) -> str:
    """One row for each class that a scored case annotates; `dsc` is empty where the class is untrained."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for case in scores.cases:
        for code in sorted([*case.dsc, *case.untrained]):
            dsc = f"{case.dsc[code]:.6f}" if code in case.dsc else ""
            writer.writerow((case.case, code, labels.NAMES[code], dsc, ""))
    return text.getvalue()


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(f".writing-{os.getpid()}-{path.name}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
