"""Frozen dataclasses from the plain values of JSON and TOML, with a check of every field."""

import dataclasses
import difflib
import json
import types
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from flare_infer.errors import SpecError

Record = TypeVar("Record")

LEFT_OUT_IF_NONE: Final = MappingProxyType({"left out if None": True})
"""Metadata of a field that a later version added: where it is None, what is written is what earlier versions wrote."""

_IN_WORDS: Final[dict[type, str]] = {
    **{float: "a number", int: "a whole number", bool: "true or false"},
    **{Path: "a place (a text)", str: "a text"},
}


def record_from_fields(kind: type[Record], fields: Mapping[str, Any], at: str = "") -> Record:
    """Build a frozen dataclass, with dataclasses inside it; fields that are left out have their defaults.

    Args:
        kind: the dataclass.
        fields: its fields as plain values: a dataclass is a table, a tuple a list.
        at: dotted name of the record, for errors.

    Raises:
        SpecError: if a field is unknown, missing or of the wrong type, naming it, or if the record refuses its values.
    """
    problems: list[str] = []
    record: Record = _record(kind, fields, at, problems)
    if problems:
        raise SpecError(problems[0])
    return record


def field_problems(kind: type[Any], fields: Mapping[str, Any], at: str = "") -> list[str]:
    """One line for each problem that `record_from_fields` has with the fields of a record; the arguments are its."""
    problems: list[str] = []
    _record(kind, fields, at, problems)
    return problems


def plain_fields(record: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON reads them back, from which `record_from_fields` makes an equal one."""
    plain: dict[str, Any] = json.loads(json.dumps(fields_to_write(record)))
    return plain


def fields_to_write(record: Any) -> dict[str, Any]:
    """As `dataclasses.asdict`, without the fields that are left out where they are None."""
    written = dataclasses.asdict(record)
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if value is None and field.metadata == LEFT_OUT_IF_NONE:
            del written[field.name]
        elif dataclasses.is_dataclass(value):
            written[field.name] = fields_to_write(value)
    return written


def _record(kind: Any, fields: Mapping[str, Any], at: str, problems: list[str]) -> Any:
    """The record; None where one of its fields is wrong, with a line for each such field."""
    before = len(problems)
    hints = get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}
    values = {}
    for name, value in fields.items():
        if name in known:
            values[name] = _value(hints[name], value, _dotted(at, name), problems)
        else:
            (nearest,) = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            problems.append(f"{_dotted(at, name)}: no such field; the nearest is {nearest}")
    for name, field in known.items():
        if name not in fields and field.default is field.default_factory is dataclasses.MISSING:
            problems.append(f"{_dotted(at, name)}: missing")
    if len(problems) > before:
        return None
    try:
        return kind(**values)
    except SpecError as error:
        problems.append(f"{at}: {error}" if at and not str(error).startswith(at) else str(error))
        return None


def _value(hint: Any, value: Any, at: str, problems: list[str]) -> Any:
    """A plain value as the type of a field."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return None if value is None else _value(inner, value, at, problems)
    if origin is Literal:
        return value if value in arguments else _wrong(at, "one of " + ", ".join(arguments), value, problems)
    if origin is tuple:
        return _tuple(arguments, value, at, problems)
    if dataclasses.is_dataclass(hint) or dict in (origin, hint) or origin is Mapping:
        return _table(hint, value, at, problems)
    return _scalar(hint, value, at, problems)


def _table(hint: Any, value: Any, at: str, problems: list[str]) -> Any:
    if not isinstance(value, Mapping):
        return _wrong(at, "a table of fields", value, problems)
    if dataclasses.is_dataclass(hint):
        return _record(hint, value, at, problems)
    if not (arguments := get_args(hint)) or arguments[1] is Any:
        return dict(value)
    return {name: _value(arguments[1], entry, _dotted(at, name), problems) for name, entry in value.items()}


def _tuple(arguments: tuple[Any, ...], value: Any, at: str, problems: list[str]) -> Any:
    if not isinstance(value, list | tuple):
        return _wrong(at, "a list", value, problems)
    kinds = (arguments[0],) * len(value) if arguments[1:] == (...,) else arguments
    if len(kinds) != len(value):
        return _wrong(at, f"a list of {len(kinds)}", value, problems)
    entries = enumerate(zip(kinds, value, strict=True))
    return tuple(_value(kind, entry, f"{at}[{index}]", problems) for index, (kind, entry) in entries)


def _scalar(hint: type, value: Any, at: str, problems: list[str]) -> Any:
    # To Python a bool is an int, but no field of numbers means one.
    if isinstance(value, bool) and hint is not bool:
        return _wrong(at, _IN_WORDS[hint], value, problems)
    try:
        if isinstance(value, {float: int, Path: str}.get(hint, ())):
            return hint(value)
    except OverflowError:
        return _wrong(at, "a number of usual size", value, problems)
    return value if isinstance(value, hint) else _wrong(at, _IN_WORDS[hint], value, problems)


def _wrong(at: str, expected: str, found: Any, problems: list[str]) -> None:
    problems.append(f"{at}: expected {expected}, found {found!r:.80}")


def _dotted(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
