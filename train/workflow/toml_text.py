"""Plain values as TOML, for the files that hold what a pipeline changes in a recipe."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flare_infer.errors import SpecError


def toml_text(fields: Mapping[str, Any], heading: str = "") -> str:
    """A table as TOML text that reads back as the same values; tables inside it follow its own fields.

    Args:
        fields: texts, numbers, true and false, lists of these, and tables.
        heading: dotted name of the table; empty for a whole file.

    Raises:
        SpecError: if a value is of another kind.
    """
    tables = {name: value for name, value in fields.items() if isinstance(value, Mapping)}
    lines = [f"[{heading}]"] if heading else []
    lines += [f"{_key(name)} = {_value(value)}" for name, value in fields.items() if name not in tables]
    text = "".join(f"{line}\n" for line in lines)
    for name, table in tables.items():
        dotted = f"{heading}.{_key(name)}" if heading else _key(name)
        text += ("\n" if text else "") + toml_text(table, dotted)
    return text


def _key(name: str) -> str:
    bare = name and all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in name)
    return name if bare else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    raise SpecError(f"expected a text, a number, true, false, a list or a table, found {value!r}")


def _text(value: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
