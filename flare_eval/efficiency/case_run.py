"""What running one case cost, written to and read from `efficiency.csv`."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from flare_eval.label_maps.csv_text import csv_text
from flare_infer.errors import DatasetError

EFFICIENCY_FILE: Final = "efficiency.csv"


@dataclass(frozen=True, kw_only=True)
class CaseRun:
    """Time and memory of one case. None is "not measured", never zero.

    Attributes:
        case: name of the case.
        size: number of voxels of the image along x, y, z, as "512x512x100".
        seconds: time from just before the start until the command returned.
        exit_code: exit code of the command; 0 is success.
        ram_max_mb: largest memory, in MB of 2**20 bytes.
        ram_area_mb_s: area under the curve of memory, in MB * s, weighted by the true times between samples.
        gpu_before_mb: memory in use on the whole device before the start, in MB.
        gpu_max_mb: largest memory in use on the whole device, in MB, with what was used before, as the organizers do.
        gpu_area_mb_s: the organizers' area in MB * s: sum of the samples times 0.1 s, rounded.
        gpu_area_weighted_mb_s: the same area weighted by the true times between samples.
        output: whether a label map was written under the expected name.
        note: remarks in one line, such as why there is no output; empty if there are none.
    """

    case: str
    size: str | None
    seconds: float | None
    exit_code: int | None
    ram_max_mb: float | None
    ram_area_mb_s: float | None
    gpu_before_mb: float | None
    gpu_max_mb: float | None
    gpu_area_mb_s: float | None
    gpu_area_weighted_mb_s: float | None
    output: bool
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the command succeeded and wrote its output."""
        return self.exit_code == 0 and self.output


HEADER: Final = tuple(field.name for field in fields(CaseRun))
"""Names of the columns of `efficiency.csv`."""


def runs_to_csv(runs: Sequence[CaseRun]) -> str:
    """The content of `efficiency.csv`: one row for each case; what was not measured is empty."""
    return csv_text(HEADER, [[_cell(getattr(run, name)) for name in HEADER] for run in runs])


def read_runs(path: Path) -> dict[str, CaseRun]:
    """Read an `efficiency.csv`: the run of each case, by name of the case.

    Raises:
        DatasetError: if the file cannot be read or is not of this form.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {row["case"]: _run(row) for row in rows}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DatasetError(f"{path}: not a table of `flare-eval efficiency` ({error!r})") from error


def mean_of(runs: Sequence[CaseRun], name: str) -> float | None:
    """Mean of the field `name` over the cases in which it was measured; None if it was measured in none."""
    values = [value for run in runs if (value := getattr(run, name)) is not None]
    return sum(values) / len(values) if values else None


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _run(row: dict[str, str]) -> CaseRun:
    numbers = {name: float(row[name]) if row[name] else None for name in HEADER if name.endswith(("_mb", "_s"))}
    return CaseRun(
        case=row["case"],
        size=row["size"] or None,
        seconds=float(row["seconds"]) if row["seconds"] else None,
        exit_code=int(row["exit_code"]) if row["exit_code"] else None,
        output=row["output"] == "1",
        note=row["note"],
        **numbers,
    )
