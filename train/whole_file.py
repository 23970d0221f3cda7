"""A file that appears only when it is whole; on a full disk nothing of it is left, and what was there stays."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from flare_infer.errors import UsageError

PART_SUFFIX: Final = ".part"
_REFUSED: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_LITTLE_BYTES: Final = 2**20


class NotWrittenError(UsageError):
    """Something could not be written: no fault of a single case, and nothing else can be written either."""


@contextmanager
def whole_file(final: Path) -> Iterator[Path]:
    """Inside, the file to write; on leaving it takes the place of `final`.

    If an error leaves the block, `final` is what it was, and nothing else is left.

    Raises:
        NotWrittenError: if the file cannot be written; a disk that is full, above all. `RuntimeError` counts as that,
            because torch and Blosc2 raise it where the system refuses to write.
    """
    part = final.with_name(final.name + PART_SUFFIX)
    try:
        yield part
        part.replace(final)
    except (OSError, RuntimeError) as error:
        raise not_written(final, error) from error  # before room is made: it looks how much is left
    finally:
        with suppress(OSError):  # why it could not be written is what people need to know
            part.unlink(missing_ok=True)


def write_whole(final: Path, text: str) -> None:
    """Write a text in UTF-8; see `whole_file`."""
    with whole_file(final) as part:
        part.write_text(text, encoding="utf-8")


def not_written(path: Path, error: Exception) -> NotWrittenError:
    """What to tell people about something that could not be written, or another file on the way to it.

    Libraries tell of a full disk in words that nobody understands: whether it is, is asked of the system.
    """
    known = isinstance(error, OSError) and error.strerror
    reason = known or f"{'the disk is full: ' if _is_full(path) else ''}{str(error).partition(chr(10))[0]}"
    return NotWrittenError(
        f"{path}: could not be written ({reason}); if the disk is full make room, then the same command goes on from "
        "what is whole"
    )


@contextmanager
def writing_told(place: Path) -> Iterator[None]:
    """Turn what the system refuses to write anywhere inside into one of our errors, which names the file or `place`.

    Raises:
        NotWrittenError: in the place of an OSError that refuses to write.
    """
    try:
        yield
    except OSError as error:
        path = Path(error.filename or place)
        if error.errno in (errno.EACCES, errno.EPERM):
            raise NotWrittenError(f"{path}: {error.strerror}; choose a place where you may read and write") from error
        if error.errno not in _REFUSED:
            raise
        raise not_written(path, error) from error


def _is_full(path: Path) -> bool:
    place = next((folder for folder in path.absolute().parents if folder.exists()), None)
    return place is not None and shutil.disk_usage(place).free < _LITTLE_BYTES
