"""Records from TOML files, and records with some fields replaced."""

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_infer.errors import SpecError, UsageError
from flare_infer.files.record import Record, record_from_fields


def read_toml(path: Path) -> dict[str, Any]:
    """The tables and values of a TOML file.

    Raises:
        UsageError: if it is not readable as such.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a readable TOML file: {error}") from error


def record_from_file(kind: type[Record], path: Path) -> Record:
    """A frozen dataclass from a TOML file; see `record_from_fields`.

    Raises:
        UsageError: if the file cannot be read or a field of it is wrong, naming it.
    """
    try:
        return record_from_fields(kind, read_toml(path))
    except SpecError as error:
        raise UsageError(f"{path}: {error}") from error


def overridden(record: Record, changes: Mapping[str, Any]) -> Record:
    """A copy of a record with some fields replaced.

    Args:
        record: the record.
        changes: new values as plain values, at any depth.

    Raises:
        SpecError: as `record_from_fields`.
    """
    return record_from_fields(type(record), changed_fields(record, changes))


def changed_fields(record: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record as plain values, some of them replaced, at any depth."""
    return _merged(dataclasses.asdict(record), changes)


def _merged(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for name, value in changes.items():
        inner = old.get(name)
        merged[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged
