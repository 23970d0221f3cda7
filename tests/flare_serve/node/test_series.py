"""Which instances become one job, and when; whatever happens in between."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from flare_serve.errors import QueueFullError, SpoolFullError
from flare_serve.jobs.job import Job, Outcome, State
from flare_serve.jobs.settings import Limits as StoreLimits
from flare_serve.jobs.spool import Spool
from flare_serve.jobs.store import JobStore
from flare_serve.node.instances import Arrived
from flare_serve.node.series import Collector
from flare_serve.node.settings import Limits, NodeSettings
from tests.dicom.series import ROOT, Made, header, save, with_changes

SETTINGS = NodeSettings(quiet_seconds=30.0, released_seconds=3.0)
ONE, OTHER = object(), object()
"""Associations."""


@dataclass
class Desk:
    """A collector with a clock of its own."""

    folder: Path
    settings: NodeSettings = SETTINGS
    waiting: int = 32
    now: float = 0.0
    store: JobStore = field(init=False)
    collector: Collector = field(init=False)

    def start(self) -> "Desk":
        limits = StoreLimits(most_waiting=self.waiting, free_bytes=0)
        self.store = JobStore(Spool(self.folder / "spool"), limits)
        self.collector = Collector(
            self.store, self.folder / "spool" / "dicom", self.settings, lambda kind: None, lambda: self.now
        )
        return self

    def restart(self) -> "Desk":
        self.store.close()
        return self.start()

    def take(self, made: Made, index: int, association: object = ONE, title: str = "CT1") -> None:
        path = self.folder / "arriving.dcm"
        ds = header(made, index)
        save(ds, path)
        self.collector.take(
            Arrived(path=path, title=title, series=made.uid, instance=str(ds.SOPInstanceUID), association=association)
        )

    def after(self, seconds: float) -> list[set[str]]:
        """The instances of all jobs, the newest first, after more time."""
        self.wait(seconds)
        return [self.instances(job) for job in self.store.jobs()]

    def wait(self, seconds: float) -> list[State]:
        """The states of all jobs, the newest first, after more time."""
        self.now += seconds
        self.collector.work()
        return [job.state for job in self.store.jobs()]

    def instances(self, job: Job) -> set[str]:
        return {str(dcmread(path).SOPInstanceUID) for path in self.store.spool.upload(job.id).iterdir()}

    def end(self, reason: str = "") -> Job:
        job = self.store.next_job(1)
        assert job is not None
        self.store.end(job.id, Outcome(reason=reason))
        return job


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path).start()
    yield made
    made.store.close()


FIRST, SECOND = Made(), Made(uid=ROOT + "2")


def uids(made: Made, *numbers: int) -> set[str]:
    return {f"{made.uid}.{number + 1}" for number in numbers}


def test_a_series_is_complete_when_nothing_came_for_a_while(desk: Desk) -> None:
    desk.take(FIRST, 0)
    assert desk.after(29) == []
    desk.take(FIRST, 1)
    assert desk.after(29) == []
    assert desk.after(1) == [uids(FIRST, 0, 1)]
    assert desk.after(100) == [uids(FIRST, 0, 1)]


def test_the_end_of_its_association_completes_a_series_soon_but_not_at_once(desk: Desk) -> None:
    """Some senders open an association for each slice."""
    desk.take(FIRST, 0)
    desk.collector.ended(ONE, released=True)
    assert desk.after(2) == []
    desk.take(FIRST, 1, OTHER)
    assert desk.after(5) == []
    desk.collector.ended(OTHER, released=True)
    assert desk.after(2) == []
    assert desk.after(1) == [uids(FIRST, 0, 1)]


def test_an_aborted_association_does_not_complete_a_series_soon(desk: Desk) -> None:
    desk.take(FIRST, 0)
    desk.collector.ended(ONE, released=False)
    assert desk.after(29) == []
    desk.take(FIRST, 0, OTHER)
    desk.take(FIRST, 1, OTHER)
    desk.collector.ended(OTHER, released=True)
    assert desk.after(3) == [uids(FIRST, 0, 1)]


def test_series_that_come_at_once_over_two_associations_are_kept_apart(desk: Desk) -> None:
    for index in range(3):
        desk.take(FIRST, index, ONE)
        desk.take(SECOND, index, OTHER)
        desk.take(FIRST, index + 3, OTHER)
    desk.collector.ended(ONE, released=True)
    assert desk.after(10) == []
    desk.collector.ended(OTHER, released=True)
    assert sorted(map(sorted, desk.after(3))) == [sorted(uids(FIRST, *range(6))), sorted(uids(SECOND, 0, 1, 2))]


def test_senders_cannot_add_to_the_series_of_others(desk: Desk) -> None:
    desk.take(FIRST, 0, title="CT1")
    desk.take(FIRST, 1, title="CT2")
    assert sorted(map(sorted, desk.after(30))) == [sorted(uids(FIRST, 0)), sorted(uids(FIRST, 1))]


def test_a_late_instance_makes_another_job_of_the_whole_series(desk: Desk) -> None:
    desk.take(FIRST, 0)
    desk.after(30)
    desk.end()
    desk.take(FIRST, 1)
    assert desk.wait(29) == [State.DONE]
    assert desk.wait(1) == [State.QUEUED, State.DONE]
    assert desk.instances(desk.store.jobs()[0]) == uids(FIRST, 0, 1)


def test_a_late_instance_replaces_the_job_that_has_not_ended(desk: Desk) -> None:
    desk.take(FIRST, 0)
    desk.after(30)
    desk.take(FIRST, 1)
    assert desk.after(30) == [uids(FIRST, 0, 1)]


def test_an_instance_that_comes_again_changes_nothing(desk: Desk) -> None:
    desk.take(FIRST, 0)
    desk.after(30)
    desk.end()
    desk.take(FIRST, 0)
    assert desk.wait(100) == [State.DONE]


def test_an_instance_that_comes_again_after_a_failure_makes_another_job(desk: Desk) -> None:
    desk.take(FIRST, 0)
    desk.after(30)
    desk.end("out of memory")
    desk.take(FIRST, 0)
    assert desk.wait(30) == [State.QUEUED, State.FAILED]


def test_a_changed_instance_of_the_same_uid_takes_the_place_of_the_first(desk: Desk) -> None:
    def change(ds: Any, index: int) -> None:
        ds.SeriesDescription = "corrected"

    desk.take(FIRST, 0)
    desk.after(30)
    desk.end()
    desk.take(with_changes(FIRST, change), 0)
    desk.wait(30)
    (path,) = desk.store.spool.upload(desk.store.jobs()[0].id).iterdir()
    assert dcmread(path).SeriesDescription == "corrected"


def test_a_series_is_forgotten_after_its_time_and_with_its_job(desk: Desk) -> None:
    kept = desk.folder / "spool" / "dicom"
    desk.take(FIRST, 0)
    desk.after(30)
    assert list(kept.rglob("*.dcm"))
    desk.store.remove(desk.store.jobs()[0].id)
    desk.after(1)
    assert list(kept.iterdir()) == []
    desk.settings = replace(desk.settings, late_seconds=0.0)
    desk.restart()
    desk.take(FIRST, 0)
    desk.after(30)
    assert list(kept.iterdir()) == []
    assert len(desk.store.jobs()) == 1


def test_a_series_without_slices_becomes_no_job(desk: Desk) -> None:
    def localizer(ds: Any, index: int) -> None:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    desk.take(with_changes(FIRST, localizer), 0)
    assert desk.after(30) == []
    desk.take(FIRST, 1)
    assert desk.after(30) == [uids(FIRST, 0, 1)]


def test_a_complete_series_waits_for_room_in_the_queue(tmp_path: Path) -> None:
    desk = Desk(tmp_path, waiting=1).start()
    desk.take(FIRST, 0)
    desk.take(SECOND, 0)
    assert len(desk.after(30)) == 1
    with pytest.raises(QueueFullError):
        desk.take(Made(uid=ROOT + "3"), 0)
    desk.end()
    assert desk.wait(4) == [State.DONE]
    assert desk.wait(1) == [State.QUEUED, State.DONE]


@pytest.mark.parametrize("limits", [Limits(series_instances=1), Limits(series_bytes=2500)])
def test_a_series_is_no_larger_than_it_may_be(tmp_path: Path, limits: Limits) -> None:
    desk = Desk(tmp_path, NodeSettings(limits=limits)).start()
    desk.take(FIRST, 0)
    desk.take(FIRST, 0)
    with pytest.raises(SpoolFullError):
        desk.take(FIRST, 1)
    assert desk.after(30) == [uids(FIRST, 0)]


def test_no_more_series_than_may_are_open(tmp_path: Path) -> None:
    desk = Desk(tmp_path, NodeSettings(limits=Limits(open_series=1))).start()
    desk.take(FIRST, 0)
    with pytest.raises(QueueFullError):
        desk.take(SECOND, 0)
    desk.after(30)
    desk.take(SECOND, 0)


def test_a_restart_finds_an_incomplete_series_and_lets_it_go_on(desk: Desk) -> None:
    desk.take(FIRST, 0)
    desk.restart()
    desk.take(FIRST, 1)
    assert desk.after(30) == [uids(FIRST, 0, 1)]


def test_a_restart_finds_a_late_instance(desk: Desk) -> None:
    desk.take(FIRST, 0)
    desk.after(30)
    desk.end()
    desk.take(FIRST, 1)
    desk.restart()
    desk.wait(30)
    assert desk.instances(desk.store.jobs()[0]) == uids(FIRST, 0, 1)


class KilledError(BaseException):
    pass


def killed_in(desk: Desk, method: str, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    """Let the process end before or after a change of the records; nothing that follows it happens."""
    records: Any = desk.collector._records  # type: ignore[attr-defined]
    real: Callable[..., None] = getattr(records, method)

    def change(*values: Any) -> None:
        if after:
            real(*values)
        raise KilledError

    monkeypatch.setattr(records, method, change)


@pytest.mark.parametrize("after", [False, True])
def test_a_process_that_ends_while_it_makes_a_job_makes_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    desk.take(FIRST, 0)
    killed_in(desk, "submitted", monkeypatch, after=after)
    with suppress(KilledError):
        desk.after(30)
    assert len(desk.store.jobs()) == 1
    desk.restart()
    assert desk.after(100) == [uids(FIRST, 0)]
    desk.take(FIRST, 1)
    assert desk.after(30) == [uids(FIRST, 0, 1)]


@pytest.mark.parametrize("after", [False, True])
def test_a_process_that_ends_at_the_first_instance_leaves_nothing_behind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    killed_in(desk, "begin", monkeypatch, after=after)
    with suppress(KilledError):
        desk.take(FIRST, 0)
    desk.restart()
    assert list((desk.folder / "spool" / "dicom").iterdir()) == []
    desk.take(FIRST, 0)
    assert desk.after(30) == [uids(FIRST, 0)]
