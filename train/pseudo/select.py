"""Which unlabeled cases train, and which keep their tumors (docs/paper.md, Selection of unlabeled cases)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_infer.errors import DatasetError, UsageError
from flare_infer.files.json_file import read_object
from flare_infer.files.write_whole import write_json
from train.pseudo.uncertainty import Uncertainty


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Unlabeled cases to train on.

    Attributes:
        keep_tumor: names of the cases whose pseudo labels of tumors are kept, the least uncertain first.
        hosts: names of the others, the least uncertain first: their tumors become background, and tumors are pasted
            into them.
        notes: one line for each requested number that could not be reached.
    """

    keep_tumor: tuple[str, ...]
    hosts: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in alphabetical order."""
        return tuple(sorted((*self.keep_tumor, *self.hosts)))


def select_cases(rows: Sequence[Uncertainty], count: int = 1000, with_tumor: int = 100) -> Selection:
    """Select the cases with the least uncertainty of organs, and of these the ones with the least of tumors.

    A case whose uncertainty of organs is undefined is left out; one whose uncertainty of tumors is undefined becomes a
    host. Equal values are ordered by name.

    Args:
        rows: uncertainties of all cases.
        count: number of cases to select.
        with_tumor: number of them that keep their tumors.

    Raises:
        UsageError: if a number is negative, or no case has a defined uncertainty of organs.
    """
    if count < 1 or with_tumor < 0:
        raise UsageError(f"expected to select at least 1 case, and at least 0 with tumors, found {count}, {with_tumor}")
    by_organs = sorted((row.organs, row.name) for row in rows if row.organs is not None)
    if not by_organs:
        raise UsageError(f"none of {len(rows)} cases has a defined uncertainty of organs: none can be selected")
    chosen = [name for _, name in by_organs[:count]]
    selected = set(chosen)
    by_tumor = sorted((row.tumor, row.name) for row in rows if row.tumor is not None and row.name in selected)
    keep_tumor = tuple(name for _, name in by_tumor[:with_tumor])
    believed = set(keep_tumor)
    notes = []
    if len(chosen) < count:
        notes.append(f"asked for {count} cases, took all {len(chosen)} whose uncertainty of organs is defined")
    if len(keep_tumor) < with_tumor:
        notes.append(
            f"asked for {with_tumor} with tumors, took all {len(keep_tumor)} of the selected whose uncertainty of "
            "tumors is defined"
        )
    return Selection(
        keep_tumor=keep_tumor,
        hosts=tuple(name for name in chosen if name not in believed),
        notes=tuple(notes),
    )


def write_selection(path: Path, selection: Selection) -> None:
    """Write a selection as JSON; the file appears only when it is complete."""
    content = {"keep_tumor": selection.keep_tumor, "hosts": selection.hosts, "notes": selection.notes}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def read_selection(path: Path) -> Selection:
    """Read a selection that `write_selection` wrote.

    Raises:
        DatasetError: if the file does not exist, has another form, or lists a case twice.
    """
    try:
        content = read_object(path, DatasetError)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: not there; run `flare-train select` first") from error
    keep_tumor, hosts = _names(path, content, "keep_tumor"), _names(path, content, "hosts")
    if len({*keep_tumor, *hosts}) != len(keep_tumor) + len(hosts):
        raise DatasetError(f"{path}: a case is listed twice; run `flare-train select` again")
    return Selection(keep_tumor=keep_tumor, hosts=hosts, notes=_names(path, content, "notes"))


def _names(path: Path, content: dict[str, Any], key: str) -> tuple[str, ...]:
    value = content.get(key, [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise DatasetError(f"{path}: {key}: expected a list of texts, found {value!r}; run `flare-train select` again")
    return tuple(value)
