"""What differs between two plain records, in words; a folder of another recipe is refused with them."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from flare_infer.errors import UsageError

_LONGEST_VALUE: Final = 40
_SHOWN: Final = 3


def differing_fields(before: Mapping[str, Any], now: Mapping[str, Any], inside: str = "") -> Iterator[str]:
    """A phrase for every field that differs, at any depth, as `sampling.balance: 0.5, now 1.0`.

    A field that is missing is null.
    """
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differing_fields(old, new, f"{inside}{name}.")
        else:
            yield f"{inside}{name}: {_short(old)}, now {_short(new)}"


def some_of(phrases: Sequence[str], most: int = _SHOWN) -> str:
    """The first of some phrases, and how many more there are."""
    more = f" and {len(phrases) - most} more" if len(phrases) > most else ""
    return "; ".join(phrases[:most]) + more


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def refuse_other_recipe(folder: Path, what: str, known: Iterable[Mapping[str, Any]], recipe: Mapping[str, Any]) -> None:
    """Refuse a folder of which one record differs from a recipe in some field that both have.

    Args:
        folder: named in the error.
        what: lies there, such as cases.
        known: records of what lies there, as JSON.
        recipe: the same of what would be made now.

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
