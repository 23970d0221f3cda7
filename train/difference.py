"""What differs between two plain records, in words."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

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
