"""Standard output and standard error, made so that printing never fails.

What a command prints is no part of its work: a reader that leaves (`| head -1`), a full disk behind `>`, a terminal
whose window was closed or a name that the encoding lacks must not keep a label map from being written, nor decide the
exit code.
"""

import errno
import io
import os
import select
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STANDARD: Final = (0, 1, 2)


def hold_standard_streams() -> None:
    """From here on, what cannot be printed is lost, and nothing else happens.

    A standard stream that was closed is opened on the null device, so that no file that is opened later gets its
    number, and with it what libraries print. Streams that somebody has put in the place of Python's own stay theirs.
    If standard output cannot be written for another reason than that its reader has left, standard error says so once.
    """
    _open_closed_ones()
    if sys.stderr is sys.__stderr__:
        sys.stderr = _held(sys.stderr, 2, lambda error: None)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _held(sys.stdout, 1, _say_lost)


class _Outlet(io.FileIO):
    """A file descriptor for writing; at the first error it calls `lost`, and swallows everything from there on."""

    def __init__(self, descriptor: int, lost: Callable[[OSError], None]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._lost = lost
        self._works = True

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write bytes, or pretend to; returns how many are done."""
        while self._works:
            try:
                count: int | None = super().write(data)
                if count is not None:
                    return count
                select.select([], [self], [])  # somebody else made it non-blocking, and it is full
            except OSError as error:
                self._works = False
                self._lost(error)
        return memoryview(data).nbytes


def _held(stream: TextIO | None, descriptor: int, lost: Callable[[OSError], None]) -> TextIO:
    """A stream like the given one (None: it was closed) that cannot fail."""
    outlet = io.BufferedWriter(_Outlet(descriptor, lost))
    if not isinstance(stream, io.TextIOWrapper):
        return io.TextIOWrapper(outlet, encoding="utf-8", errors="backslashreplace")
    stream.flush()
    return io.TextIOWrapper(
        outlet,
        encoding=stream.encoding,
        # Anything but an error for a letter that the encoding lacks.
        errors="backslashreplace" if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )


def _open_closed_ones() -> None:
    for descriptor in _STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def _say_lost(error: OSError) -> None:
    if error.errno != errno.EPIPE:
        reason = f"cannot be written ({error.strerror}); the work goes on without it"
        print("error: standard output:", reason, file=sys.stderr)  # noqa: T201 - the command line is where printing belongs
