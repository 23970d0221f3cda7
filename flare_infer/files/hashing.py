"""The hash by which a file is known again."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flare_infer.errors import WeightsError


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """The whole content of a file of weights; nothing is allocated for one that is too large.

    Raises:
        WeightsError: if it is missing, no regular file, unreadable, or larger than `most_bytes`.
    """
    if path.exists() and not path.is_file():
        raise WeightsError(f"{path}: expected a file of weights, found something else of that name")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > most_bytes:
                raise WeightsError(
                    f"{path}: {size} bytes, but the network that model.json describes takes at most {most_bytes}; "
                    "export the model again"
                )
            return file.read(size)
    except OSError as error:
        raise WeightsError(f"{path}: not readable as weights ({error.strerror}); export the model again") from error


def sha256_of(content: bytes) -> str:
    """The SHA-256 of some bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def check_sha256(path: Path, found: str, recorded: str) -> None:
    """Compare the hash of a file of weights with the recorded one.

    Raises:
        WeightsError: if they differ.
    """
    if found != recorded:
        raise WeightsError(
            f"{path}: damaged, cut short or exchanged: sha256 {found[:12]}..., and model.json records "
            f"{recorded[:12]}...; copy the whole folder again from where it came"
        )


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
