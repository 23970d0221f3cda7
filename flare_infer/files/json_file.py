"""A JSON file that may come from anyone: small, strict, and refused with a reason."""

import codecs
import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from flare_infer.errors import FlareError

MOST_BYTES: Final = 2**23
"""Far beyond any real file of ours or of nnU-Net: a larger one is refused before it is read."""

_BYTE_ORDER_MARKS: Final = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_COMMENTS: Final = ("//", "/*", "#")


def read_object(path: Path, error: type[FlareError], most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """The object that a JSON file holds.

    Stricter than Python's reader: no NaN or Infinity, which JSON does not know, and no key twice, of which one would
    silently win.

    Args:
        path: the file.
        error: class of the error to raise.
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
    if content.startswith(_BYTE_ORDER_MARKS):
        raise error(
            f"{path}: not readable as JSON: it begins with a byte order mark (BOM); save it as UTF-8 without one"
        )
    try:
        value = json.loads(content.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_distinct)
    except RecursionError as failure:
        raise error(f"{path}: not readable as JSON (nested too deeply)") from failure
    except ValueError as failure:
        comment = " at a comment: take comments out" if _stops_at_comment(failure) else ""
        raise error(f"{path}: not readable as JSON{comment} ({failure})") from failure
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def _stops_at_comment(failure: ValueError) -> bool:
    """Whether JSON ended where a comment of another language begins."""
    if not isinstance(failure, json.JSONDecodeError):
        return False
    return any(failure.doc[at:].lstrip().startswith(_COMMENTS) for at in (failure.pos, failure.pos + 1))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return result
