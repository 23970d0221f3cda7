"""A CSV file that is written row by row and stays readable after a crash."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from flare_infer.files.write_whole import whole_file, write_errors_explained


class CsvTable:
    """Appends rows to a CSV file.

    Args:
        path: path of the file.
        names: names of the columns.
        keeps: function that says whether an existing row stays; rows that a crash cut short are always dropped.
    """

    def __init__(self, path: Path, names: Sequence[str], keeps: Callable[[Mapping[str, str]], bool]) -> None:
        self._path = path
        kept = [row for row in read_table(path) if None not in row.values() and keeps(row)]
        with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(kept)

    def write(self, values: Iterable[object]) -> None:
        """Append one row, a value for each column."""
        with write_errors_explained(self._path), self._path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(values)


def read_table(path: Path) -> list[dict[str, str]]:
    """All rows of a table as text; none if the file does not exist yet."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
