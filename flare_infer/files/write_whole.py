"""Files and folders that appear under their name only when they are whole, on mounts of every kind.

They are written beside their place under a hidden temporary name, synced to the disk, and renamed: a process that is
killed, a full disk or a loss of power leaves under the final name what was there before.
"""

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from flare_infer.errors import UsageError

PART_PREFIX: Final = ".writing-"
"""What the names of files and folders begin with that are not yet whole."""

_CANNOT: Final = {errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY}
"""How file systems say that they know no syncing; anything else (a full disk, a failing one) loses data."""

_REFUSED: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_LITTLE_BYTES: Final = 2**20


class NotWrittenError(UsageError):
    """Something could not be written: no fault of a single case, and nothing else can be written either."""


@contextmanager
def whole_file(final: Path, ending: str = "", *, explained: bool = True, synced: bool = True) -> Iterator[Path]:
    """Inside, the file to write; on leaving it takes the place of `final`.

    If an error leaves the block, `final` is what it was, and nothing else is left.

    Args:
        final: the file.
        ending: ending of the temporary name, for libraries that choose a format by it.
        explained: whether a refusal to write becomes a `NotWrittenError`; otherwise it is passed on as it is.
        synced: whether to wait until the file is on the disk itself, and would survive the loss of power.

    Raises:
        NotWrittenError: if the file cannot be written; a disk that is full, above all. `RuntimeError` counts as that,
            because torch and Blosc2 raise it where the system refuses to write.
    """
    with _part_of(final, ending, explained) as part:
        yield part
        if synced:
            _sync(part)
        part.replace(final)


def write_whole(final: Path, content: str | bytes, *, explained: bool = True, synced: bool = True) -> None:
    """Write bytes, or a text in UTF-8 with its line ends as they are; see `whole_file`.

    A file's name need not be Unicode: where a text holds one, what cannot be written is written as its code.
    """
    with whole_file(final, explained=explained, synced=synced) as part:
        part.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


def write_json(final: Path, content: Any, *, explained: bool = True) -> None:
    """Write what JSON knows, for people, too; see `whole_file`."""
    write_whole(final, json.dumps(content, indent=1) + "\n", explained=explained)


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """Inside, a new folder to write files to; on leaving it takes the place of `final` and of all that is in it.

    Raises:
        NotWrittenError: as `whole_file` does.
    """
    with _part_of(final) as part:
        part.mkdir(parents=True)
        yield part
        for path in part.rglob("*"):
            _sync(path)
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)


def link_or_copy(source: Path, place: Path) -> None:
    """Put a symbolic link to a file in a place, instead of what is there; a copy where the mount knows no links.

    Mode bits and times are not copied: such mounts refuse those, too.

    Raises:
        OSError: if neither can be made.
    """
    with whole_file(place, explained=False) as part:
        try:
            part.symlink_to(source.resolve())
        except OSError:
            shutil.copyfile(source, part)


def remove_parts(folder: Path, *old_names: str) -> None:
    """Remove what killed processes left half written in a folder, on which no other process works.

    Args:
        folder: the folder; the folders in it are not searched.
        old_names: patterns of names that earlier versions gave to what was not yet whole, such as "*.part".
    """
    for pattern in (f"{PART_PREFIX}*", *old_names):
        for part in folder.glob(pattern):
            _remove(part)


def to_disk(handle: int) -> None:
    """Wait until what was written to an open file is on the disk itself, where the mount can say so.

    Some (CIFS, FUSE over object stores) refuse, and would then lose a file only with the power, not with the program.

    Raises:
        OSError: if the disk failed or is full.
    """
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


@contextmanager
def write_errors_explained(place: Path) -> Iterator[None]:
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
        raise _not_written(path, error) from error


@contextmanager
def _part_of(final: Path, ending: str = "", explained: bool = True) -> Iterator[Path]:
    """A temporary name beside `final`; whatever has that name in the end is removed."""
    # Short, and without the final name, which may be as long as names can be, or no Unicode.
    part = final.with_name(f"{PART_PREFIX}{os.getpid()}-{secrets.token_hex(4)}{ending}")
    try:
        yield part
    except (OSError, RuntimeError) as error:
        if not explained:
            raise
        raise _not_written(final, error) from error  # before room is made: it looks how much is left
    finally:
        _remove(part)


def _sync(path: Path) -> None:
    if path.is_symlink() or not path.is_file():
        return  # the file that a link leads to is not ours
    with path.open("rb") as file:
        to_disk(file.fileno())


def _remove(part: Path) -> None:
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
    else:
        with suppress(OSError):  # why it could not be written is what people need to know
            part.unlink(missing_ok=True)


def _not_written(path: Path, error: Exception) -> NotWrittenError:
    """The error to raise about something that could not be written, or another file on the way to it.

    Libraries name a full disk in words that few understand; so the system is asked whether the disk is full.
    """
    known = isinstance(error, OSError) and error.strerror
    reason = known or f"{'the disk is full: ' if _is_full(path) else ''}{str(error).partition(chr(10))[0]}"
    return NotWrittenError(
        f"{path}: could not be written ({reason}); if the disk is full make room, then the same command goes on from "
        "what is whole"
    )


def _is_full(path: Path) -> bool:
    place = next((folder for folder in path.absolute().parents if folder.exists()), None)
    return place is not None and shutil.disk_usage(place).free < _LITTLE_BYTES
