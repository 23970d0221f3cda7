"""One thread that holds a model and runs jobs, one after the other."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from flare_infer.backends.allocator import return_freed_blocks
from flare_infer.segment.segmenter import Segmenter
from flare_serve.errors import SpoolFullError
from flare_serve.jobs.job import Job
from flare_serve.jobs.progress import Progress, Windows
from flare_serve.jobs.store import JobStore
from flare_serve.worker.run import Ran, run_job

_LOOK_SECONDS: Final = 1.0
"""How long it waits for a job before it looks whether it should end."""

_NO_ROOM_SECONDS: Final = 600.0
_MORE_BYTES: Final = 2**20
"""A job that found no room for its results is tried again after so long, or when there is so much more."""


class Worker:
    """Runs jobs until it is asked to end.

    A job that the full disk ended waits again and runs when there is more room; a job that is running when the service
    ends waits again, unless it ends in time.

    Args:
        store: the jobs.
        segmenter: the model.
        progress: told how far the running job is.
        ended: called with each job that was run, and what became of it.
    """

    def __init__(
        self, store: JobStore, segmenter: Segmenter, progress: Progress, ended: Callable[[Job, Ran], None]
    ) -> None:
        self._store, self._segmenter, self._progress, self._ended = store, segmenter, progress, ended
        self._too_little, self._until = 0, 0.0
        self._stopping, self._at_once = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"worker {segmenter.compute.device}", daemon=True)

    def start(self) -> None:
        """Begin to run jobs."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it runs; it ends by itself only if the program has a fault."""
        return self._thread.is_alive()

    def ask_to_stop(self) -> None:
        """Begin no further job."""
        self._stopping.set()

    def stop(self, grace_seconds: float) -> None:
        """Begin no further job, and end the present one in time or make it wait again.

        Args:
            grace_seconds: how long the present job may still take.
        """
        self.ask_to_stop()
        self._thread.join(grace_seconds)
        self._at_once.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._has_room():
                self._stopping.wait(_LOOK_SECONDS)
                continue
            try:
                job = self._store.next_job(_LOOK_SECONDS)
            except SpoolFullError:
                self._stopping.wait(_LOOK_SECONDS)
                continue
            if job is not None and self._stopping.is_set():
                self._store.requeue(job.id)
            elif job is not None:
                self._run_one(job)

    def _has_room(self) -> bool:
        """Whether the disk has room for results; jobs wait until it has."""
        free = self._store.spool.free()
        has_more = free > self._too_little or time.monotonic() > self._until
        return has_more and free >= self._store.limits.free_bytes // 2

    def _run_one(self, job: Job) -> None:
        self._progress.set(job.id, Windows())
        free = self._store.spool.free()
        try:
            ran = run_job(
                self._segmenter, self._store.spool, job, partial(self._progress.set, job.id), self._must_end(job)
            )
            self._close(job, ran)
            # What found no room waits until there is more of it, or for some minutes.
            self._too_little = free + _MORE_BYTES if ran.kind == "disk" else 0
            self._until = time.monotonic() + _NO_ROOM_SECONDS
            self._ended(job, ran)
        finally:
            self._progress.drop(job.id)
            return_freed_blocks()  # else the service holds as much as the largest of its scans needed

    def _must_end(self, job: Job) -> Callable[[], bool]:
        return lambda: self._at_once.is_set() or not self._store.is_wanted(job.id)

    def _close(self, job: Job, ran: Ran) -> None:
        """Record how a job ended; as long as the disk has no room for the record, try again."""
        while True:
            try:
                if ran.kind == "stopped":
                    self._store.requeue(job.id)
                elif ran.kind == "disk" and job.starts < self._store.limits.most_starts:
                    self._store.requeue(job.id, counted=True)
                else:
                    self._store.end(job.id, ran.outcome)
            except SpoolFullError:
                if self._at_once.is_set():
                    return  # as after a kill: the next start makes it wait again
                time.sleep(_LOOK_SECONDS)
            else:
                return
