"""`statistics.json` of a case, its reader, and the rows of the folder's `statistics.csv`.

They hold the name of the case and nothing else about whom it shows: no identity, no date, no file.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from flare_infer.errors import FlareError, ReportError
from flare_infer.files.json_file import read_object
from flare_infer.files.write_whole import write_whole
from flare_infer.geometry import triple_of_floats
from flare_infer.results.case import CaseStatistics, ClassStatistics, Flag, Intensities, Lesion

FORMAT: Final = "flare-infer statistics 1"

_CENTER: Final = ("left_mm", "posterior_mm", "superior_mm")
_EXTENT: Final = ("extent_left_right_mm", "extent_front_back_mm", "extent_head_foot_mm")
COLUMNS: Final = (
    *("case", "kind", "number", "code", "name", "organ", "volume_ml", "cut", "parts", "hu_mean", "hu_sd", "hu_median"),
    *(*_CENTER, *_EXTENT, "longest_axial_mm", "perpendicular_mm", "confidence", "phase", "flags"),
)
"""Of the table: a row of kind "scan" for each case, one of kind "class" for each class, one for each "lesion"."""

_DECIMALS: Final = {"volume_ml": 3, "confidence": 4}
_OTHER_DECIMALS: Final = 2


def as_fields(statistics: CaseStatistics) -> dict[str, Any]:
    """What `statistics.json` says of a case, as JSON has it; numbers are rounded to what they are good for."""
    rounded = _rounded(asdict(statistics), "")
    if not isinstance(rounded, dict):  # asdict of a record is a dict; this tells the type checker
        raise ReportError("expected a record")
    return rounded


def write_statistics(path: Path, statistics: CaseStatistics, made_with: Mapping[str, Any] | None = None) -> None:
    """Write the JSON file of a case, whole or not at all.

    Args:
        path: the file; its folder exists.
        statistics: what was measured.
        made_with: facts about the run, of types that JSON has.

    Raises:
        NotWrittenError: if it cannot be written.
    """
    content = {"format": FORMAT, **as_fields(statistics), "made_with": dict(made_with or {})}
    write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_statistics(path: Path) -> CaseStatistics:
    """What `write_statistics` wrote; fields that this version does not know are passed over.

    Raises:
        ReportError: if there is no such file, or it is none of this format.
    """
    try:
        content = read_object(path, ReportError)
    except FileNotFoundError as error:
        raise ReportError(f"{path}: no such file; expected the statistics of a case") from error
    if content.get("format") != FORMAT:
        raise ReportError(f"{path}: expected a {FORMAT}, found format {content.get('format')!r:.100}")
    try:
        return CaseStatistics(
            name=_text(content["name"]),
            classes=tuple(_record(ClassStatistics, value) for value in content["classes"]),
            lesions=tuple(_record(Lesion, value) for value in content["lesions"]),
            flags=tuple(_record(Flag, value) for value in content["flags"]),
            phase=_text(content["phase"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, FlareError) as error:
        raise ReportError(f"{path}: not readable as {FORMAT} ({type(error).__name__}: {error})") from error


def table_rows(statistics: CaseStatistics) -> Iterator[dict[str, Any]]:
    """The rows of a case in the folder's table: of the scan, of every class, of every lesion."""
    values = as_fields(statistics)
    about: dict[int | None, list[str]] = {}
    for flag in statistics.flags:
        about.setdefault(flag.code, []).append(flag.kind)
    yield {
        "case": statistics.name,
        "kind": "scan",
        "phase": statistics.phase,
        "flags": "; ".join(dict.fromkeys(about.get(None, []))),
    }
    for found in values["classes"]:
        yield _row(statistics.name, "class", found) | {"flags": "; ".join(about.get(found["code"], []))}
    for lesion in values["lesions"]:
        yield _row(statistics.name, "lesion", lesion)


def table_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows of any number of cases as the text of `statistics.csv`, with a header."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


def _row(case: str, kind: str, found: Mapping[str, Any]) -> dict[str, Any]:
    row = {column: found[column] for column in COLUMNS if column in found}
    if found["intensities"] is not None:
        row |= {f"hu_{name}": value for name, value in found["intensities"].items()}
    for columns, triple in ((_CENTER, found["center_mm"]), (_EXTENT, found.get("extent_mm"))):
        if triple is not None:
            row |= dict(zip(columns, triple, strict=True))
    row["cut"] = "yes" if found["cut"] else "no"
    return row | {"case": case, "kind": kind}


def _rounded(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner, key) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner, name) for inner in value]
    return round(value, _DECIMALS.get(name, _OTHER_DECIMALS)) if isinstance(value, float) else value


def _record(kind: type[Any], value: Any) -> Any:
    """A record from an object of JSON; what has a default may be missing."""
    known = {field.name: value[field.name] for field in fields(kind) if field.name in value}
    for name, found in known.items():
        known[name] = _CHECKS[name](found)
    return kind(**known)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, found {value!r:.100}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, found {value!r:.100}")
    return float(value)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected an integer, found {value!r:.100}")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"expected true or false, found {value!r:.100}")
    return value


def _triple(value: Any) -> tuple[float, float, float]:
    return triple_of_floats([_number(each) for each in value])


def _optional(check: Any) -> Any:
    return lambda value: None if value is None else check(value)


_CHECKS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("name", "organ", "kind", "reason"), _text),
    **dict.fromkeys(("volume_ml", "longest_axial_mm", "perpendicular_mm", "mean", "sd", "median"), _number),
    **dict.fromkeys(("number", "parts"), _integer),
    **dict.fromkeys(("center_mm", "extent_mm"), _optional(_triple)),
    "code": _optional(_integer),
    "confidence": _optional(_number),
    "cut": _truth,
    "cut_at": lambda value: tuple(_text(each) for each in value),
    "intensities": _optional(lambda value: _record(Intensities, value)),
}
