"""The uncertainties of all cases as a CSV table: case, organs, tumor; empty fields are undefined."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flare_eval.label_maps.csv_text import csv_text
from flare_infer.errors import DatasetError
from flare_infer.files.write_whole import write_whole
from train.problems import raise_if_any
from train.pseudo.uncertainty import Uncertainty

_COLUMNS: Final = ("case", "organs", "tumor")


def write_uncertainties(path: Path, rows: Sequence[Uncertainty]) -> None:
    """Write a table; the file appears only when it is complete."""
    fields = [(row.name, *("" if value is None else repr(value) for value in (row.organs, row.tumor))) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, csv_text(_COLUMNS, fields))


def read_uncertainties(path: Path) -> list[Uncertainty]:
    """Read a table that `write_uncertainties` wrote; numbers are exactly the same.

    Raises:
        DatasetError: if the file cannot be read or has other columns.
        ProblemsError: naming every line of another form, and every case that occurs twice.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: not a readable table ({error}); run `flare-train uncertainty` first") from error
    if tuple(header) != _COLUMNS:
        raise DatasetError(f"{path}: expected the columns {', '.join(_COLUMNS)}, found {', '.join(header) or 'none'}")
    rows: dict[str, Uncertainty] = {}
    problems = []
    for number, line in enumerate(lines, start=2):
        try:
            name, organs, tumor = line
            row = Uncertainty(name=name, organs=_number(organs), tumor=_number(tumor))
        except ValueError:
            problems.append(f"{path}:{number}: expected a case and two numbers of at least 0, found {','.join(line)}")
            continue
        if name in rows:
            problems.append(f"{path}:{number}: case {name} is there twice")
        rows[name] = row
    raise_if_any(problems)
    return list(rows.values())


def _number(text: str) -> float | None:
    if not text:
        return None
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value
