"""How far running jobs are: in memory, since it changes often and a restart begins anew."""

import threading
from typing import NamedTuple


class Windows(NamedTuple):
    """Windows of a scan.

    Attributes:
        done: how many were run or passed over.
        total: how many there are; 0 until that is known.
    """

    done: int = 0
    total: int = 0


class Progress:
    """Windows by job, and a number that grows with every change; used from any thread.

    Attributes:
        version: grows whenever something changes that a client may want to see.
    """

    def __init__(self) -> None:
        self.version = 0
        self._guard = threading.Lock()
        self._windows: dict[str, Windows] = {}

    def changed(self) -> None:
        """Something changed."""
        with self._guard:
            self.version += 1

    def set(self, job_id: str, windows: Windows) -> None:
        """A job has come so far."""
        with self._guard:
            self._windows[job_id] = windows
            self.version += 1

    def drop(self, job_id: str) -> None:
        """A job has ended."""
        with self._guard:
            self._windows.pop(job_id, None)
            self.version += 1

    def of(self, job_id: str) -> Windows:
        """How far a job is; nothing done if it is not running."""
        with self._guard:
            return self._windows.get(job_id, Windows())
