"""A JSON file that may come from anyone: small, strict, and refused with a reason."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from flare_infer.errors import FlareError

MOST_BYTES: Final = 2**23
"""Far beyond any real file of ours or of nnU-Net: a larger one is refused before it is read."""


def read_object(path: Path, error: type[FlareError], most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """The object that a JSON file holds.

    Stricter than Python's reader: no NaN or Infinity, which JSON does not know, and no key twice, of which one would
    silently win.

    Args:
        path: the file.
        error: what to raise of our errors.
        most_bytes: the size up to which it is read.

    Raises:
        FileNotFoundError: if there is no file; only the caller knows what it is for.
        FlareError: of the kind `error`, if the file is too large, not readable, no such JSON, or no object.
    """
    if path.exists() and not path.is_file():
        raise error(f"{path}: expected a file, found something else of that name")
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise
    except OSError as failure:
        raise error(f"{path}: cannot be read ({failure.strerror}); expected a JSON file") from failure
    if len(content) > most_bytes:
        raise error(f"{path}: larger than {most_bytes} bytes; expected a JSON file that people can read")
    try:
        value = json.loads(content.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_distinct)
    except RecursionError as failure:
        raise error(f"{path}: not readable as JSON (nested too deeply)") from failure
    except ValueError as failure:
        raise error(f"{path}: not readable as JSON ({failure})") from failure
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return result
