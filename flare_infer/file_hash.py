"""The hash by which a file is known again."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 2**20


def sha256_of_file(path: Path, wanted: Callable[[], bool] = lambda: True) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Args:
        path: the file.
        wanted: asked before each mebibyte; once it says no, hashing stops.

    Returns:
        the digits; an empty string if the file cannot be read, is no regular file (a pipe would be waited for without
        end), or its hash is no longer wanted.
    """
    digest = hashlib.sha256()
    try:
        if not path.is_file():
            return ""
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                if not wanted():
                    return ""
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()
