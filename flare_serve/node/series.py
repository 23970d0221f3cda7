"""Series while they come in: which instances belong together, when a series is complete, and that it becomes a job."""

import filecmp
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from flare_serve.errors import QueueFullError, SpoolFullError, UnknownJobError
from flare_serve.jobs.job import ENDED, Job, State
from flare_serve.jobs.spool import remove
from flare_serve.jobs.store import JobStore
from flare_serve.jobs.tables import holders
from flare_serve.logs import log
from flare_serve.node.instances import Arrived, files_in, holds_slices, link_or_copy
from flare_serve.node.records import ORIGIN, Records, holder_of
from flare_serve.node.settings import NodeSettings

_AGAIN_SECONDS: Final = 5.0
"""After which a complete series is tried again that found the queue or the disk full."""


@dataclass(kw_only=True)
class _Series:
    """A series of one sender; `sizes` are bytes by name of file, `bytes` their sum, times those of the clock."""

    id: str
    title: str
    uid: str
    folder: Path
    quiet_since: float
    sizes: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    associations: set[object] = field(default_factory=set)
    was_released: bool = False
    is_submitted: bool = False
    submissions: int = 0
    job: str = ""
    not_before: float = 0.0
    until: float = 0.0


class Collector:
    """Collects instances by series and sender, and makes a job of each series that is complete.

    A series is kept for a while after it became a job: an instance that comes late makes another job of the whole
    series, and an instance that comes again changes nothing.

    Args:
        store: takes the jobs.
        folder: where series are collected; on the disk of the store's spool.
        settings: when a series is complete, and the limits.
        count: callback, called with the kind of an event, in one of a few words.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        store: JobStore,
        folder: Path,
        settings: NodeSettings,
        count: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._folder, self._settings, self._count, self._clock = store, folder, settings, count, clock
        self._records = Records(store.database)
        self._guard = threading.RLock()
        self._series: dict[tuple[str, str], _Series] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._recover()

    def take(self, arrived: Arrived) -> None:
        """Put an instance to its series.

        Raises:
            QueueFullError: if as many series or jobs wait as may.
            SpoolFullError: if there is no room, or the series is larger than it may be.
            OSError: if it cannot be moved to its place.
        """
        key = arrived.title, arrived.series
        name = arrived.file_name
        with self._guard:
            series = self._series.get(key) or self._begin(*key)
            series.associations.add(arrived.association)
            if self._came_before(series, name, arrived.path):
                arrived.path.unlink()
                return
            size = arrived.path.stat().st_size
            self._check_size(series, name, size)
            arrived.path.replace(series.folder / name)
            series.bytes += size - series.sizes.get(name, 0)
            series.sizes[name] = size
            series.quiet_since = self._clock()
            if series.is_submitted:
                series.is_submitted = False
                self._records.reopen(series.id)

    def ended(self, association: object, *, released: bool) -> None:
        """An association has ended.

        Args:
            association: as it was given to `take`.
            released: whether its sender had sent all it wanted to send.
        """
        with self._guard:
            for series in self._series.values():
                if association in series.associations:
                    series.associations.discard(association)
                    series.was_released = released
                    series.quiet_since = self._clock()

    def work(self) -> None:
        """Make jobs of all series that are complete, and forget those whose time is over; called every moment.

        Raises:
            SpoolFullError: if the disk is so full that nothing can be noted.
        """
        with self._guard:
            complete = [series for series in self._series.values() if self._is_complete(series)]
        for series in complete:
            self._submit(series)
        with self._guard:
            over = [key for key, one in self._series.items() if one.is_submitted and self._is_over(one)]
            for key in over:
                series = self._series.pop(key)
                self._records.forget(series.id)
                remove(series.folder)

    def open_series(self) -> int:
        """How many series are not complete."""
        with self._guard:
            return sum(not one.is_submitted for one in self._series.values())

    def _begin(self, title: str, uid: str) -> _Series:
        if self.open_series() >= self._settings.limits.open_series:
            raise QueueFullError("too many series are not complete", round(self._settings.quiet_seconds))
        self._store.check_room()
        series_id = secrets.token_hex(16)
        series = _Series(id=series_id, title=title, uid=uid, folder=self._folder / series_id, quiet_since=self._clock())
        series.folder.mkdir(mode=0o700)
        self._records.begin(series.id, title, uid)
        self._series[title, uid] = series
        return series

    def _came_before(self, series: _Series, name: str, path: Path) -> bool:
        """Whether an instance has come again whose series was segmented, or will be."""
        there = series.folder / name
        if name not in series.sizes or not filecmp.cmp(there, path, shallow=False):
            return False
        if not series.is_submitted or not series.job:
            return True
        job = self._job(series.job)
        return job is not None and job.state != State.FAILED

    def _check_size(self, series: _Series, name: str, size: int) -> None:
        limits = self._settings.limits
        others = len(series.sizes) - (name in series.sizes)
        if others >= limits.series_instances or series.bytes - series.sizes.get(name, 0) + size > limits.series_bytes:
            raise SpoolFullError("a series is larger than it may be")

    def _is_complete(self, series: _Series) -> bool:
        settings, now = self._settings, self._clock()
        quiet = settings.quiet_seconds
        if series.was_released and not series.associations:
            quiet = min(quiet, settings.released_seconds)
        return (
            not series.is_submitted
            and bool(series.sizes)
            and now - series.quiet_since >= quiet
            and now >= series.not_before
        )

    def _is_over(self, series: _Series) -> bool:
        """Whether a series that became a job is forgotten: after its time, and with a job that somebody removed."""
        return series.until <= time.time() or (series.job != "" and not self._store.is_wanted(series.job))

    def _submit(self, series: _Series) -> None:
        """Make a job of a series; what comes from now on makes another."""
        with self._guard:
            names, number, earlier = list(series.sizes), series.submissions + 1, series.job
            series.is_submitted = True
        try:
            job = self._submitted(series, names, number)
        except (QueueFullError, SpoolFullError, OSError) as error:
            log("complete series waits", title=series.title, kind=type(error).__name__)
            with self._guard:
                series.is_submitted, series.not_before = False, self._clock() + _AGAIN_SECONDS
            return
        with self._guard:
            series.submissions, series.job = number, job
            series.until = time.time() + self._settings.late_seconds
            self._records.submitted(series.id, number, job, series.until if series.is_submitted else 0.0)
        if earlier and job:
            self._replace(earlier)

    def _submitted(self, series: _Series, names: Sequence[str], number: int) -> str:
        """The id of a new job; empty if there is nothing to segment."""
        if not any(holds_slices(series.folder / name) for name in names):
            log("series without slices", title=series.title, instances=len(names))
            self._count("dicom series without slices")
            return ""
        upload = self._store.incoming()
        try:
            upload.mkdir(mode=0o700)
            for name in names:
                link_or_copy(series.folder / name, upload / name)
            case = f"ct_{hashlib.sha256(series.uid.encode()).hexdigest()[:12]}"
            job = self._store.submit(
                upload, name=f"{case} from {series.title}", origin=ORIGIN, hold=holder_of(series.id, number)
            )
        finally:
            remove(upload)  # nothing is there if it became a job
        log("series complete", job=job.id, title=series.title, instances=len(names))
        self._count("dicom series")
        return job.id

    def _replace(self, job_id: str) -> None:
        """Remove the job of a part of a series, now that there is one of the whole; a result that is there stays."""
        job = self._job(job_id)
        if job is not None and job.state not in ENDED:
            with suppress(UnknownJobError):
                self._store.remove(job_id)
            log("job replaced, since instances came late", job=job_id)

    def _job(self, job_id: str) -> Job | None:
        try:
            return self._store.job(job_id)
        except UnknownJobError:
            return None

    def _recover(self) -> None:
        """Find again what was collected before the last process ended."""
        held = holders(self._store.database, ORIGIN)
        for row in self._records.all():
            folder = self._folder / row.id
            files = {path.name: path.stat().st_size for path in files_in(folder)}
            if not files:
                self._records.forget(row.id)
                continue
            series = _Series(id=row.id, title=row.title, uid=row.series, folder=folder, quiet_since=self._clock())
            series.sizes, series.job, series.submissions, series.until = files, row.job, row.submissions, row.until
            series.is_submitted, series.bytes = row.until > 0, sum(files.values())
            job_id = held.get(holder_of(row.id, row.submissions + 1))
            if job_id is not None:  # the process ended between the job and the record of it
                self._found(series, job_id)
            self._series[row.title, row.series] = series
        known = {series.folder.name for series in self._series.values()}
        for path in self._folder.iterdir():
            if path.name not in known:
                remove(path)

    def _found(self, series: _Series, job_id: str) -> None:
        series.job, series.submissions = job_id, series.submissions + 1
        job = self._job(job_id)
        late = job is None or any(path.stat().st_mtime > job.created for path in files_in(series.folder))
        series.is_submitted, series.until = not late, time.time() + self._settings.late_seconds
        self._records.submitted(series.id, series.submissions, job_id, 0.0 if late else series.until)
