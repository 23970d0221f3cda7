"""Claims on cases: how several processes, on several machines, work on one folder without a scheduler.

A claim is a file in a hidden folder of the outputs that exactly one process succeeds in creating. Its owner renews the
file's time while it works; a claim that was not renewed for a while is taken over by creating the next one, which again
exactly one process succeeds in. Nothing relies on file locks, and times are compared with those that the file server
itself gives to files, so that clocks of machines need not agree.
"""

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from flare_infer.errors import UsageError
from flare_infer.files.write_whole import remove_parts

CLAIMS_FOLDER: Final = ".flare-infer.claims"

STALE_SECONDS: Final = 60.0
"""A claim that was not renewed for so long is one of a process that died, or lost its disk."""

_RENEWALS: Final = 6
"""So many renewals fit into the time after which a claim counts as stale."""


class Claims:
    """The claims of one process on the cases of a folder of outputs; may be used from several threads.

    As a context it renews the claims it holds, in a thread, and drops them at the end.

    Args:
        outputs: the folder, which may be on a file server.
        stale_seconds: time without renewal after which a claim is taken over.

    Attributes:
        id: what tells this process from all others, on this machine and elsewhere.
    """

    def __init__(self, outputs: Path, stale_seconds: float = STALE_SECONDS) -> None:
        self.id = f"{os.uname().nodename[:32]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._outputs = outputs
        self._folder = outputs / CLAIMS_FOLDER
        self._stale_seconds = stale_seconds
        self._sign_of_life = self._folder / f"worker-{hashlib.sha256(self.id.encode()).hexdigest()[:16]}"
        self._held: dict[str, Path] = {}
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="claims", daemon=True)
        self._offset = 0.0

    def __enter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        if not self.others_alive():
            # The first process of a new run: what failed in an earlier one is tried again.
            for mark in self._folder.glob("*.failed"):
                mark.unlink(missing_ok=True)
            remove_parts(self._outputs)
        self._sign_of_life.touch()
        self._renewer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._renewer.join()
        for name in list(self._held):
            self.drop(name, interrupted=True)
        with suppress(OSError):
            self._sign_of_life.unlink()

    def now(self) -> float:
        """The file server's time, in seconds since 1970.

        It is asked for once and then counted on by this machine's monotonic clock, which no correction moves.
        """
        if not self._offset:
            self._offset = self._server_time() - time.monotonic()
        return self._offset + time.monotonic()

    def others_alive(self) -> bool:
        """Whether another process showed a sign of life a short time ago."""
        now = self._server_time()
        if not self._renewer.is_alive():
            self._sign_of_life.unlink()
        ages = (now - _mtime(path) for path in self._folder.glob("worker-*") if path != self._sign_of_life)
        return any(age < self._stale_seconds for age in ages)

    def take(self, name: str) -> int:
        """Claim a case.

        Returns:
            how many processes have claimed it until it came to an end, this one included; 0 if another one is alive
            that has claimed it.

        Raises:
            OSError: if the folder cannot be written to.
        """
        newest = max(self._of(name), default=0)
        if newest and self._server_time() - _mtime(self._path(name, newest)) < self._stale_seconds:
            return 0
        path = self._path(name, newest + 1)
        try:
            # O_EXCL is what the whole rests on: it succeeds for one process only, on NFS from version 3 on, too.
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            return 0
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(self.id)
        with self._guard:
            self._held[name] = path
        return newest + 1

    def holds(self, name: str) -> bool:
        """Whether a case is still claimed by this process: if it was suspended, another may have taken over."""
        with self._guard:
            path = self._held.get(name)
        if path is None or max(self._of(name), default=0) != int(path.suffix[1:]):
            return False
        try:
            return path.read_text(encoding="utf-8") == self.id
        except OSError:
            return False

    def drop(self, name: str, *, failed: bool = False, interrupted: bool = False) -> None:
        """Give up a claim, since its case has come to an end.

        Args:
            name: name of the case.
            failed: whether it failed, so that the processes of this run need not try it again.
            interrupted: whether it did not end; then another process may begin anew at once.
        """
        still = self.holds(name)
        with self._guard:
            path = self._held.pop(name, None)
        if path is None or not still:
            return
        if failed:
            self._mark(name).touch()
        # The newest goes last: as long as it is there, nobody takes an older one for the newest.
        numbers = sorted(self._of(name))
        for number in numbers if not interrupted else numbers[-1:]:
            self._path(name, number).unlink(missing_ok=True)

    def has_failed(self, name: str) -> bool:
        """Whether a case failed in another process of this run."""
        return self._mark(name).exists()

    def _renew(self) -> None:
        while not self._ended.wait(self._stale_seconds / _RENEWALS):
            with self._guard:
                held = [self._sign_of_life, *self._held.values()]
            for path in held:
                # A claim that is gone was taken over and ended elsewhere; `holds` finds out.
                with suppress(OSError):
                    os.utime(path)

    def _server_time(self) -> float:
        """The time that the file server gives to a file that is touched now."""
        self._sign_of_life.touch()
        os.utime(self._sign_of_life)
        return _mtime(self._sign_of_life)

    def _of(self, name: str) -> Iterator[int]:
        """The numbers of the claims on a case, in any order."""
        key = _key(name)
        for entry in os.listdir(self._folder):
            stem, _, number = entry.rpartition(".")
            if stem == key and number.isdecimal():
                yield int(number)

    def _path(self, name: str, number: int) -> Path:
        return self._folder / f"{_key(name)}.{number}"

    def _mark(self, name: str) -> Path:
        return self._folder / f"{_key(name)}.failed"


def refuse_if_shared(outputs: Path) -> None:
    """Make sure that no processes that share a folder are at work there.

    Raises:
        UsageError: if one is.
    """
    claims = Claims(outputs)
    if (outputs / CLAIMS_FOLDER).is_dir() and claims.others_alive():
        raise UsageError(f"{outputs}: other processes share the work here; start this one with --share, too, or wait")


def _key(name: str) -> str:
    """The name of a case as a short one that every file system takes."""
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:24]


def _mtime(path: Path) -> float:
    """When a file was last renewed, by the server's clock; 0 if it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
