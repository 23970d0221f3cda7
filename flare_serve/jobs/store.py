"""The jobs of a service, in a database and a spool: a crash loses none, and none ends twice."""

import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from flare_infer.errors import one_line
from flare_serve.errors import QueueFullError, SpoolFullError, UnknownJobError
from flare_serve.jobs.database import Database
from flare_serve.jobs.job import ENDED, RESULTS, Job, Outcome, State
from flare_serve.jobs.recovery import recover, tidy
from flare_serve.jobs.settings import Limits
from flare_serve.jobs.spool import CASE, Spool, remove
from flare_serve.jobs.tables import TABLES, job_of, refuse_if_queue_is_full

_TURN: Final = "ORDER BY starts, number"
"""Who is next: what ended the program once must not keep the others waiting."""

_UNKNOWN: Final = "no job {}; it may have been removed"
_LONGEST_NAME: Final = 200


class JobStore:
    """The jobs of a service; used from any thread.

    When it is made, it puts right what the last process left: jobs that were running wait again, uploads that were not
    whole are removed.

    Args:
        spool: where uploads and results lie.
        limits: how much is taken and kept.

    Attributes:
        spool: where uploads and results lie.
        limits: how much is taken and kept.
        database: for further tables of other parts of the program.
    """

    def __init__(self, spool: Spool, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self.spool, self.limits = spool, limits
        self.database = Database(spool.database)
        self.database.migrate("jobs", TABLES)
        self._changed = threading.Condition()
        self._listeners: list[Callable[[Job], None]] = []
        recover(self.database, spool, limits)

    def incoming(self) -> Path:
        """A new place for an upload, file or folder; who asks for it removes it, unless `submit` takes it."""
        return self.spool.incoming()

    def check_room(self, size: int = 0) -> None:
        """Make sure that one more job may wait, and that there is room for its upload.

        Args:
            size: bytes of the upload, as far as they are known.

        Raises:
            QueueFullError: if as many wait as may.
            SpoolFullError: if the disk has no room.
        """
        with self.database.reading() as connection:
            refuse_if_queue_is_full(connection, self.limits)
        self.spool.refuse_if_full(size + self.limits.free_bytes)

    def submit(self, upload: Path, *, name: str, origin: str, series: str = "largest", hold: str = "") -> Job:
        """Make a job of an upload that is whole: move it to its place and queue it, both or neither.

        Args:
            upload: a place that `incoming` gave, with a file (.nii, .nii.gz, .mha, .nrrd, zip of DICOM; its content
                says which) or a folder of DICOM files.
            name: what the sender calls it; shown to senders, never part of a path or a log.
            origin: who hands it in.
            series: which series of DICOM: largest, or a SeriesInstanceUID.
            hold: who needs the job to be kept until `release`; empty for nobody.

        Raises:
            QueueFullError: if as many wait as may; the upload is where it was.
            SpoolFullError: if the disk is full; the upload is where it was.
        """
        self.check_room()
        job_id = secrets.token_hex(16)
        try:
            self.spool.take(upload, job_id)
        except OSError as error:
            raise SpoolFullError(f"the upload could not be stored ({error.strerror}); come again later") from error
        shown = one_line(name)[:_LONGEST_NAME] or "scan"
        try:
            with self.database.transaction() as connection:
                refuse_if_queue_is_full(connection, self.limits)
                connection.execute(
                    "INSERT INTO jobs (id, name, origin, series, state, created, size) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (job_id, shown, origin, series, State.QUEUED, time.time(), self.spool.size(job_id)),
                )
                if hold:
                    connection.execute("INSERT INTO holds VALUES (?, ?)", (job_id, hold))
        except (QueueFullError, SpoolFullError):
            self.spool.give_back(job_id, upload)
            raise
        self._tell(job_id)
        return self.job(job_id)

    def job(self, job_id: str) -> Job:
        """A job.

        Raises:
            UnknownJobError: if there is none of this id.
        """
        with self.database.reading() as connection:
            row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is None:
                raise UnknownJobError(_UNKNOWN.format(job_id))
            place = 0
            if row["state"] == State.QUEUED:
                (place,) = connection.execute(
                    "SELECT count(*) FROM jobs WHERE state = ? AND (starts, number) < (?, ?)",
                    (State.QUEUED, row["starts"], row["number"]),
                ).fetchone()
        return job_of(row, place)

    def jobs(
        self, origin: str | None = None, states: Sequence[State] = tuple(State), *, most: int = -1, before: str = ""
    ) -> list[Job]:
        """Jobs, the newest first.

        Args:
            origin: only those of this origin; None for all.
            states: only those in these states.
            most: at most so many; -1 for all.
            before: only those that were accepted before the job of this id; empty for all.
        """
        where, values = f"state IN ({', '.join('?' * len(states))})", list[object](states)
        if origin is not None:
            where, values = f"{where} AND origin = ?", [*values, origin]
        if before:
            where, values = f"{where} AND number < (SELECT number FROM jobs WHERE id = ?)", [*values, before]
        query = f"SELECT * FROM jobs WHERE {where} ORDER BY number DESC LIMIT ?"
        with self.database.reading() as connection:
            rows = connection.execute(query, (*values, most)).fetchall()
            waiting = connection.execute(f"SELECT id FROM jobs WHERE state = ? {_TURN}", (State.QUEUED,)).fetchall()
        places = {row["id"]: place for place, row in enumerate(waiting)}
        return [job_of(row, places.get(row["id"], 0)) for row in rows]

    def ended_with_origin(self, origin: str) -> list[Job]:
        """Jobs of an origin that are done or failed; after a restart, too."""
        return self.jobs(origin, ENDED)

    def result(self, job_id: str, name: str) -> Path | None:
        """The file of a result of a job that is done; None if there is no such result.

        Args:
            job_id: the job.
            name: a key of `RESULTS`.
        """
        return self.result_of(self.job(job_id), name)

    def result_of(self, job: Job, name: str) -> Path | None:
        """The same, of a job that was asked for already."""
        path = self.spool.results(job.id) / f"{CASE}{RESULTS[name]}"
        return path if job.state == State.DONE and path.is_file() else None

    def subscribe(self, listener: Callable[[Job], None]) -> None:
        """Call a function with each job that was queued, began, or ended, in the thread in which that happens.

        It returns at once and raises nothing. A job that was removed is not told. For what must survive a restart,
        compare `ended_with_origin` with a table of your own.
        """
        self._listeners.append(listener)

    def release(self, job_id: str, holder: str) -> None:
        """A holder no longer needs a job: its time of being kept counts, and it may be removed."""
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM holds WHERE id = ? AND holder = ?", (job_id, holder))

    def remove(self, job_id: str) -> None:
        """Remove a job with all its files; one that is running stops soon, and its worker removes the files.

        Raises:
            UnknownJobError: if there is none of this id.
        """
        with self.database.transaction() as connection:
            row = connection.execute("DELETE FROM jobs WHERE id = ? RETURNING state", (job_id,)).fetchone()
        if row is None:
            raise UnknownJobError(_UNKNOWN.format(job_id))
        if row["state"] != State.RUNNING:
            remove(self.spool.job(job_id))
        self._wake()

    def next_job(self, timeout: float) -> Job | None:
        """Start the next job and return it; None if there is none for so long.

        Args:
            timeout: in seconds.
        """
        with self._changed:
            job_id = self._start()
            if job_id is None:
                self._changed.wait(timeout)
                job_id = self._start()
        if job_id is None:
            return None
        self._tell(job_id)
        try:
            return self.job(job_id)
        except UnknownJobError:  # removed in this moment: nobody else removes its files
            remove(self.spool.job(job_id))
            return None

    def is_wanted(self, job_id: str) -> bool:
        """Whether a job is still there."""
        with self.database.reading() as connection:
            return connection.execute("SELECT 1 FROM jobs WHERE id = ?", (job_id,)).fetchone() is not None

    def end(self, job_id: str, outcome: Outcome) -> None:
        """A running job is done or has failed; its upload is removed. Of a job that was removed nothing is left.

        Raises:
            SpoolFullError: if this cannot be written; the job is still running then, and nothing is removed.
        """
        state = State.FAILED if outcome.reason else State.DONE
        with self.database.transaction() as connection:
            changed = connection.execute(
                "UPDATE jobs SET state = ?, ended = ?, reason = ?, notices = ?, flags = ?, windows_ran = ?, "
                "windows = ?, seconds = ?, size = ? WHERE id = ? AND state = ?",
                (
                    *(state, time.time(), outcome.reason, json.dumps(outcome.notices), json.dumps(outcome.flags)),
                    *(outcome.windows_ran, outcome.windows, outcome.seconds, self.spool.results_size(job_id)),
                    *(job_id, State.RUNNING),
                ),
            ).rowcount
        # The upload goes when nothing needs it any more: until then a kill leaves a job that can run again.
        tidy(self.spool, job_id, failed=bool(outcome.reason))
        if changed:
            self._tell(job_id)
        elif not self.is_wanted(job_id):
            remove(self.spool.job(job_id))

    def requeue(self, job_id: str, *, counted: bool = False) -> None:
        """A running job waits again, from its beginning.

        Args:
            job_id: the job.
            counted: whether this start counts among those that a job may have; not if the service is about to end.

        Raises:
            SpoolFullError: if this cannot be written; the job is still running then.
        """
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = ?, starts = starts - ? WHERE id = ? AND state = ?",
                (State.QUEUED, 0 if counted else 1, job_id, State.RUNNING),
            )
        for path in (self.spool.work(job_id), self.spool.results(job_id)):
            remove(path)
        if self.is_wanted(job_id):
            self._tell(job_id)
        else:
            remove(self.spool.job(job_id))

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def _start(self) -> str | None:
        with self.database.transaction() as connection:
            row = connection.execute(f"SELECT id FROM jobs WHERE state = ? {_TURN} LIMIT 1", (State.QUEUED,)).fetchone()
            if row is None:
                return None
            connection.execute(
                "UPDATE jobs SET state = ?, began = ?, starts = starts + 1 WHERE id = ?",
                (State.RUNNING, time.time(), row["id"]),
            )
        return str(row["id"])

    def _tell(self, job_id: str) -> None:
        self._wake()
        try:
            job = self.job(job_id)
        except UnknownJobError:
            return
        for listener in self._listeners:
            listener(job)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
