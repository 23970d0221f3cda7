"""One run at a time on a folder of outputs."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from flare_infer.errors import UsageError
from flare_infer.files.write_whole import remove_parts

OUTPUTS_LOCK_FILE: Final = ".flare-infer.lock"
TAKEN: Final = "another run writes here ({}); wait for its end or choose another output folder"

_HELD: Final = (errno.EWOULDBLOCK, errno.EACCES)
_LONGEST_HOLDER: Final = 200


@contextmanager
def outputs_locked(
    outputs: Path, say: Callable[[str], None], *, shared: bool = False, taken: str = TAKEN
) -> Iterator[None]:
    """Keep other runs off a folder, and remove what killed runs and killed workers left half-written there.

    Runs that share the folder keep off those that do not, and the other way round; nothing is removed for them.

    The kernel lets go of the lock when the process ends, in whatever way. Where the file system knows no locks, or the
    lock belongs to another user, the run goes on with a line, and removes nothing.

    Args:
        outputs: an existing folder that can be written to.
        say: callback, called with a line if there is no lock.
        shared: whether this run shares the folder with others (`claims`).
        taken: the error's text if another run holds the lock, with `{}` for who it is.

    Raises:
        UsageError: if another run holds the lock; the text names its process and host.
    """
    path = outputs / OUTPUTS_LOCK_FILE
    try:
        handle = _locked(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    except OSError as error:
        if not shared:
            say(f"{outputs}: cannot be locked ({error.strerror}); start no second run on it while this one goes on")
        yield
        return
    if handle is None:
        raise UsageError(f"{outputs}: {taken.format(_holder(path))}")
    if shared:
        with os.fdopen(handle):
            yield
        return
    try:
        with suppress(OSError):  # a full disk must not keep a run from starting
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        remove_parts(outputs)
        yield
    finally:
        remove_parts(outputs)  # of workers that ended before this run did
        # While it is still locked: who opened the file before finds, once it has the lock, that the name is gone.
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _locked(path: Path, kind: int) -> int | None:
    """The handle of the locked file; None if another process holds the lock.

    Args:
        path: the file.
        kind: shared or exclusive, as `fcntl` names them.

    Raises:
        OSError: if it cannot be locked at all.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            if _is_still(handle, path):
                return handle
        except OSError as error:
            os.close(handle)
            if error.errno in _HELD:
                return None
            raise
        os.close(handle)  # its last holder removed it in between


def _is_still(handle: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(handle)
    return (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)


def _holder(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_LONGEST_HOLDER).strip() or "which does not say who it is"
    except OSError:
        return "which does not say who it is"
