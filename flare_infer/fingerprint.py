"""The bytes of a file, read once, and the hash by which they are known."""

import hashlib
import os
from pathlib import Path

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
