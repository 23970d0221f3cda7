"""Differences between two plain records, in words, and the refusal of folders made by another recipe."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from flare_infer.errors import UsageError

_LONGEST_VALUE: Final = 40
_SHOWN: Final = 3


def differing_fields(before: Mapping[str, Any], now: Mapping[str, Any], inside: str = "") -> Iterator[str]:
    """A phrase for every field that differs, at any depth, such as `sampling.balance: 0.5, now 1.0`.

    A missing field counts as null.

    Args:
        before: the first record as plain values.
        now: the second record.
        inside: dotted name of the record with a dot at its end; empty at the top.
    """
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differing_fields(old, new, f"{inside}{name}.")
        else:
            yield f"{inside}{name}: {_short(old)}, now {_short(new)}"


def some_of(phrases: Sequence[str], most: int = _SHOWN, between: str = "; ") -> str:
    """The first `most` phrases, and the number of the others."""
    more = f" and {len(phrases) - most} more" if len(phrases) > most else ""
    return between.join(phrases[:most]) + more


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def refuse_other_recipe(folder: Path, what: str, known: Iterable[Mapping[str, Any]], recipe: Mapping[str, Any]) -> None:
    """Refuse a folder if a record of its contents differs from a recipe in a field that both have.

    Args:
        folder: the folder, for the error.
        what: word for its contents, such as cases.
        known: the records of its contents, as JSON.
        recipe: the record of what would be made now, as JSON.

    Raises:
        UsageError: naming the first fields that differ.
    """
    for record in known:
        same = {name: record.get(name, value) for name, value in recipe.items()}
        if differing := list(differing_fields(same, recipe)):
            raise UsageError(
                f"{folder}: holds {what} of another recipe ({some_of(differing)}), which are kept; choose another "
                "folder, the recipe they were made with, or --replace"
            )
