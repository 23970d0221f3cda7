"""Results on their way to archives: each is sent until it is stored or given up, whatever happens to the program."""

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from flare_serve.errors import SpoolFullError, UnknownJobError
from flare_serve.jobs.job import ENDED
from flare_serve.jobs.store import JobStore
from flare_serve.jobs.tables import add_notice, holders
from flare_serve.logs import log, log_error
from flare_serve.node.addresses import Target
from flare_serve.node.answers import Answer, Result
from flare_serve.node.records import DELIVERED, GIVEN_UP, ORIGIN, WAITING, Delivery, Records
from flare_serve.node.sending import send
from flare_serve.node.settings import NodeSettings

_LOOK_SECONDS: Final = 0.5
_FULL_SECONDS: Final = 5.0


class Outbox:
    """Sends the results of jobs that came by DICOM.

    A delivery is noted before it is tried, and its end before the job is let go. Only if the program is killed between
    an archive's answer and the note of it is an object sent again: the same, with the same SOPInstanceUID, which
    archives keep once.

    Args:
        store: the jobs.
        settings: where results go, and how often they are tried.
        count: callback, called with the kind of an event, in one of a few words.
        sender: hands a file to a target.
    """

    def __init__(
        self,
        store: JobStore,
        settings: NodeSettings,
        count: Callable[[str], None],
        sender: Callable[[Path, Target, NodeSettings], Answer] = send,
    ) -> None:
        self._store, self._settings, self._count, self._send = store, settings, count, sender
        self._records = Records(store.database)
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._serve, args=(target,), name="dicom-outbox", daemon=True)
            for target in settings.targets
        ]

    @property
    def is_alive(self) -> bool:
        """Whether every target has a thread that works."""
        return all(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Begin to send; a target that answers slowly does not keep the others waiting."""
        known = set(map(str, self._settings.targets))
        for one in self._records.waiting():
            if one.target not in known:
                self._give_up(one, "it is no longer a target")
        held = set(holders(self._store.database, ORIGIN).values())
        for job_id in self._records.jobs() - held:
            self._records.forget_deliveries(job_id)
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> None:
        """Send no more; what is under way has so many seconds."""
        self._stopped.set()
        end = time.monotonic() + seconds
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(max(0.0, end - time.monotonic()))

    def work(self) -> None:
        """Note what is to be sent of jobs that ended, and let go of those of which nothing waits; called often."""
        held = holders(self._store.database, ORIGIN, ENDED)
        if not held:
            return
        noted, waiting = self._records.jobs(), {one.job for one in self._records.waiting()}
        for holder, job_id in held.items():
            wanted = [] if job_id in noted else self._wanted(job_id)
            if wanted:
                self._records.add_deliveries(job_id, wanted)
            elif job_id not in waiting:
                self._store.release(job_id, holder)
                self._records.forget_deliveries(job_id)

    def waiting(self) -> int:
        """How many deliveries wait."""
        return len(self._records.waiting())

    def _wanted(self, job_id: str) -> list[tuple[str, str]]:
        forms = [form for form in self._settings.forms if self._file(job_id, form) is not None]
        if self._settings.targets and len(forms) < len(self._settings.forms):
            lacking = ", ".join(form for form in self._settings.forms if form not in forms)
            log_error("result lacking", job=job_id, forms=lacking)  # why, the job says
            self._count("dicom result lacking")
        return [(str(target), form) for target in self._settings.targets for form in forms]

    def _file(self, job_id: str, form: str) -> Path | None:
        try:
            return self._store.result(job_id, f"{form}.dcm")
        except UnknownJobError:
            return None

    def _serve(self, target: Target) -> None:
        while not self._stopped.is_set():
            try:
                one = self._records.next_delivery(str(target), time.time())
                if one is not None:
                    self._deliver(one, target)
            except SpoolFullError:  # nothing can be noted now; what is under way is noted as waiting
                log_error("results are not sent: the disk of the spool is full")
                self._stopped.wait(_FULL_SECONDS)
                continue
            except sqlite3.ProgrammingError:
                if self._stopped.is_set():
                    return  # the database was closed, since this attempt took longer than there was time
                raise
            if one is None:
                self._stopped.wait(_LOOK_SECONDS)

    def _deliver(self, one: Delivery, target: Target) -> None:
        path = self._file(one.job, one.form)
        if path is None:
            self._give_up(one, "the job was removed")
            return
        try:
            answer = self._send(path, target, self._settings)
        except OSError as error:
            answer = Answer(Result.LATER, f"could not be tried ({error.strerror})")
        now, retries = time.time(), self._settings.retries
        if answer.result == Result.STORED:
            self._records.tried(one, DELIVERED, now=now)
            self._count("dicom delivery stored")
            log("result stored", job=one.job, form=one.form, target=one.target, answer=answer.text)
            return
        due = now + retries.pause(one.attempts + 1)
        if answer.result == Result.NEVER or due - (one.began or now) > retries.for_seconds:
            self._give_up(one, answer.text)
            return
        self._records.tried(one, WAITING, now=now, due=due)
        self._count("dicom delivery failed")
        log(
            "result not stored",
            job=one.job,
            form=one.form,
            target=one.target,
            answer=answer.text,
            again=round(due - now),
        )

    def _give_up(self, one: Delivery, reason: str) -> None:
        """Say it where people look: in the log, in the metrics, and in the job."""
        self._records.tried(one, GIVEN_UP, now=time.time())
        self._count("dicom delivery given up")
        log_error("result given up", job=one.job, form=one.form, target=one.target, answer=reason)
        text = f"{one.form} was not sent to {one.target}, and will not be: {reason}"
        add_notice(self._store.database, one.job, text)
