"""Frozen dataclasses from plain values of TOML and JSON, with a check of every field."""

import dataclasses
import difflib
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from flare_infer.errors import SpecError, UsageError

Record = TypeVar("Record")


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


def record_from_fields(kind: type[Record], fields: Mapping[str, Any], at: str = "") -> Record:
    """Build a frozen dataclass, with dataclasses inside it; fields that are left out have their defaults.

    Args:
        kind: the dataclass.
        fields: its fields as plain values: a dataclass is a table, a tuple a list.
        at: dotted name of the record, for errors.

    Raises:
        SpecError: if a field is unknown, missing or of the wrong type, naming it, or if the record refuses its values.
    """
    hints = get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in fields:
        if name not in known:
            raise SpecError(_unknown(_dotted(at, name), name, list(known)))
    missing = [name for name, field in known.items() if name not in fields and _is_needed(field)]
    if missing:
        raise SpecError(f"{_dotted(at, missing[0])}: missing")
    return kind(**{name: _value(hints[name], value, _dotted(at, name)) for name, value in fields.items()})


def overridden(record: Record, changes: Mapping[str, Any]) -> Record:
    """A copy of a record with some fields replaced.

    Args:
        record: the record.
        changes: new values as plain values, at any depth.

    Raises:
        SpecError: as `record_from_fields`.
    """
    return record_from_fields(type(record), _merged(dataclasses.asdict(record), changes))  # type: ignore[call-overload]


def field_problems(target: Any, fields: Mapping[str, Any], at: str = "") -> list[str]:
    """One line for each problem with the fields of a record: unknown, missing, of the wrong type, or refused.

    Args:
        target: a dataclass, as for `record_from_fields`, or a record of one, as for `overridden`.
        fields: fields as plain values, as for these functions.
        at: dotted name of the record.
    """
    record = None if isinstance(target, type) else target
    kind = target if isinstance(target, type) else type(target)
    hints = get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}
    lines = [_unknown(_dotted(at, name), name, list(known)) for name in fields if name not in known]
    for name, value in fields.items():
        if name in known:
            old = getattr(record, name, None)
            lines += _problems_of_value(hints[name], value, _dotted(at, name), old)
    if record is None:
        missing = [name for name, field in known.items() if name not in fields and _is_needed(field)]
        lines += [f"{_dotted(at, name)}: missing" for name in missing]
    if not lines:
        try:
            record_from_fields(kind, fields, at) if record is None else overridden(record, fields)
        except SpecError as error:
            return [f"{at}: {error}" if at and not str(error).startswith(at) else str(error)]
    return lines


def _problems_of_value(hint: Any, value: Any, at: str, old: Any) -> list[str]:
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return field_problems(hint if old is None else old, value, at)
    arguments = get_args(hint)
    if get_origin(hint) is dict and dataclasses.is_dataclass(arguments[1]) and isinstance(value, Mapping):
        named = value.items()
        return [line for name, entry in named for line in _problems_of_value(arguments[1], entry, f"{at}.{name}", None)]
    if get_origin(hint) is tuple and dataclasses.is_dataclass(arguments[0]) and isinstance(value, list):
        entries = enumerate(value)
        return [
            line for index, entry in entries for line in _problems_of_value(arguments[0], entry, f"{at}[{index}]", None)
        ]
    try:
        _value(hint, value, at)
    except SpecError as error:
        return [str(error)]
    return []


def _is_needed(field: "dataclasses.Field[Any]") -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _merged(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for name, value in changes.items():
        inner = old.get(name)
        merged[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged


def _value(hint: Any, value: Any, at: str) -> Any:
    """Convert a plain value to the type of a field."""
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise _wrong(at, "a table of fields", value)
        return record_from_fields(hint, value, at)  # type: ignore[arg-type]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return None if value is None else _value(inner, value, at)
    if origin is tuple:
        return _tuple(arguments, value, at)
    if origin is Literal:
        if value not in arguments:
            raise _wrong(at, "one of " + ", ".join(arguments), value)
        return value
    if origin is dict or hint is dict:
        return _table(arguments, value, at)
    return _scalar(hint, value, at)


def _table(arguments: tuple[Any, ...], value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(at, "a table", value)
    kind = arguments[1] if arguments else Any
    return {name: entry if kind is Any else _value(kind, entry, _dotted(at, name)) for name, entry in value.items()}


def _scalar(hint: type, value: Any, at: str) -> Any:
    # To Python a bool is an int, but no field of numbers means one.
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        names = {
            float: "a number",
            Path: "a place (a text)",
            int: "a whole number",
            str: "a text",
            bool: "true or false",
        }
        raise _wrong(at, names[hint], value)
    return value


def _tuple(arguments: tuple[Any, ...], value: Any, at: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(at, "a list", value)
    kinds = (arguments[0],) * len(value) if arguments[1:] == (...,) else arguments
    if len(kinds) != len(value):
        raise _wrong(at, f"a list of {len(kinds)}", value)
    return tuple(
        _value(kind, entry, f"{at}[{index}]") for index, (kind, entry) in enumerate(zip(kinds, value, strict=True))
    )


def _wrong(at: str, expected: str, found: Any) -> SpecError:
    return SpecError(f"{at}: expected {expected}, found {found!r}")


def _unknown(at: str, name: str, known: list[str]) -> str:
    (nearest,) = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"{at}: no such field; the nearest is {nearest}"


def _dotted(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
