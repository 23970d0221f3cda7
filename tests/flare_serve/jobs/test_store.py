"""Jobs in their database and spool: accepted, run, ended, kept, put right."""

import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flare_serve.errors import QueueFullError, SpoolFullError, UnknownJobError
from flare_serve.jobs.job import Job, Outcome, State
from flare_serve.jobs.retention import remove_old_jobs
from flare_serve.jobs.settings import Limits
from flare_serve.jobs.spool import Spool
from flare_serve.jobs.store import JobStore
from tests.flare_serve.served import LIMITS, files_of

NAME = "../../etc/MUSTERMANN.nii.gz"


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(Spool(tmp_path / "spool"), LIMITS)


def again(store: JobStore, limits: Limits = LIMITS) -> JobStore:
    """The store of the process that comes after one that was killed."""
    return JobStore(Spool(store.spool.folder), limits)


def submitted(store: JobStore, content: bytes = b"scan", **fields: str) -> Job:
    upload = store.incoming()
    upload.write_bytes(content)
    return store.submit(upload, name=NAME, origin="http", **fields)


def run(store: JobStore, reason: str = "") -> Job:
    """Run the next job, with two results."""
    job = store.next_job(0)
    assert job is not None
    results = store.spool.results(job.id)
    results.mkdir()
    (results / "scan.nii.gz").write_bytes(b"labels")
    store.end(job.id, Outcome(reason=reason, flags=("organ cut: liver",), windows_ran=2, windows=3, seconds=1.5))
    return store.job(job.id)


def test_a_job_from_its_upload_to_its_removal(store: JobStore) -> None:
    told: list[State] = []
    store.subscribe(lambda job: told.append(job.state))
    job = submitted(store)
    assert len(job.id) == 32
    assert (job.state, job.name, store.spool.upload(job.id).read_bytes()) == (State.QUEUED, NAME, b"scan")
    done = run(store)
    assert (done.state, done.windows, done.flags, done.size) == (State.DONE, 3, ("organ cut: liver",), 6)
    assert files_of(store.spool.folder) == {f"jobs/{job.id}/results/scan.nii.gz"}
    assert store.result(job.id, "labels.nii.gz") == store.spool.results(job.id) / "scan.nii.gz"
    assert store.result(job.id, "seg.dcm") is None
    assert told == [State.QUEUED, State.RUNNING, State.DONE]
    store.remove(job.id)
    assert files_of(store.spool.folder) == set()
    with pytest.raises(UnknownJobError):
        store.job(job.id)


def test_nothing_of_a_name_becomes_a_path(store: JobStore) -> None:
    submitted(store)
    assert not [path for path in store.spool.folder.rglob("*") if "MUSTER" in path.name]


def test_a_failed_job_leaves_its_reason_and_no_file(store: JobStore) -> None:
    submitted(store)
    assert run(store, reason="no scan").reason == "no scan"
    assert files_of(store.spool.folder) == set()


def test_jobs_run_in_the_order_in_which_they_came(store: JobStore) -> None:
    ids = [submitted(store).id for _ in range(3)]
    assert [store.job(one).place for one in ids] == [0, 1, 2]
    assert [job.place for job in store.jobs()] == [2, 1, 0]
    assert [run(store).id for _ in ids] == ids
    assert [job.id for job in store.jobs(most=2)] == ids[:0:-1]
    assert [job.id for job in store.jobs(before=ids[1])] == ids[:1]


def test_who_waits_for_a_job_is_woken_at_once(store: JobStore) -> None:
    submitted(store)
    began = time.monotonic()
    assert store.next_job(60) is not None
    assert store.next_job(0) is None
    assert time.monotonic() - began < 30


def test_a_killed_process_loses_nothing_and_what_it_ran_runs_again_behind_the_others(store: JobStore) -> None:
    first, second = submitted(store), submitted(store)
    assert store.next_job(0) is not None
    for folder in (store.spool.results(first.id), store.spool.work(first.id)):
        folder.mkdir()
        (folder / "half").write_bytes(b"x")
    store.incoming().write_bytes(b"half an upload")
    (store.spool.job("f" * 32)).mkdir()
    left = again(store)
    assert files_of(left.spool.folder) == {f"jobs/{job.id}/upload" for job in (first, second)}
    assert [left.job(one.id).place for one in (first, second)] == [1, 0]
    assert not left.spool.job("f" * 32).exists()
    assert [run(left).id for _ in range(2)] == [second.id, first.id]
    assert left.job(first.id).starts == 2


def test_a_job_that_was_done_stays_done_when_the_process_is_killed_right_then(store: JobStore) -> None:
    job = submitted(store)
    run(store)
    store.spool.upload(job.id).write_bytes(b"not removed yet")
    left = again(store)
    assert left.job(job.id).state == State.DONE
    assert files_of(left.spool.folder) == {f"jobs/{job.id}/results/scan.nii.gz"}


def test_a_job_that_ends_the_program_each_time_fails(store: JobStore) -> None:
    job = submitted(store)
    for _ in range(LIMITS.most_starts):
        assert store.next_job(0) is not None
        store = again(store)
    assert store.next_job(0) is None
    assert (store.job(job.id).state, "began 5 times" in store.job(job.id).reason) == (State.FAILED, True)


def test_who_is_asked_to_end_makes_the_job_wait_as_if_it_had_not_begun(store: JobStore) -> None:
    job = submitted(store)
    store.next_job(0)
    store.requeue(job.id)
    assert (store.job(job.id).state, store.job(job.id).starts) == (State.QUEUED, 0)


def test_a_running_job_that_is_removed_leaves_nothing(store: JobStore) -> None:
    job = submitted(store)
    store.next_job(0)
    store.remove(job.id)
    assert not store.is_wanted(job.id)
    store.end(job.id, Outcome())
    assert files_of(store.spool.folder) == set()


def test_a_full_queue_refuses_and_leaves_the_upload_to_its_owner(tmp_path: Path) -> None:
    store = JobStore(Spool(tmp_path), replace(LIMITS, most_waiting=2))
    submitted(store)
    submitted(store)
    with pytest.raises(QueueFullError) as error:
        submitted(store)
    assert error.value.retry_seconds >= 1
    assert len(list((tmp_path / "incoming").iterdir())) == 1
    run(store)
    submitted(store)


@pytest.mark.parametrize(("most", "says"), [(1, "1 job waits already; "), (2, "2 jobs wait already; ")])
def test_a_full_queue_is_said_in_good_english(tmp_path: Path, most: int, says: str) -> None:
    store = JobStore(Spool(tmp_path), replace(LIMITS, most_waiting=most))
    for _ in range(most):
        submitted(store)
    with pytest.raises(QueueFullError, match=says):
        submitted(store)


def test_a_full_disk_refuses_and_leaves_the_upload_to_its_owner(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.spool, "free", lambda: LIMITS.free_bytes - 1)
    with pytest.raises(SpoolFullError):
        submitted(store)


def test_a_database_without_room_gives_the_upload_back(store: JobStore) -> None:
    first = submitted(store)
    with store.database.transaction() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(SpoolFullError):
        any(not submitted(store) for _ in range(100))
    folders = [path.name for path in (store.spool.folder / "jobs").iterdir()]
    assert sorted(folders) == sorted(job.id for job in store.jobs())
    assert len(list((store.spool.folder / "incoming").iterdir())) == 1
    assert store.job(first.id).state == State.QUEUED


def test_other_faults_of_the_database_are_not_called_a_full_disk(store: JobStore) -> None:
    with pytest.raises(sqlite3.OperationalError), store.database.transaction() as connection:
        connection.execute("SELECT nothing FROM nowhere")


def test_tables_of_other_parts_are_made_step_by_step(store: JobStore) -> None:
    one, two = "CREATE TABLE sent (id TEXT)", "ALTER TABLE sent ADD COLUMN tries INTEGER"
    store.database.migrate("node", (one,))
    store.database.migrate("node", (one, two))
    store.database.migrate("node", (one, two))
    with store.database.reading() as connection:
        assert connection.execute("SELECT id, tries FROM sent").fetchall() == []


def test_old_large_and_many_jobs_are_removed_but_not_those_that_are_held_or_wait(store: JobStore) -> None:
    held, old, new = (submitted(store, hold=hold) for hold in ("node", "", ""))
    for _ in range(3):
        run(store)
    waiting = submitted(store)
    with store.database.transaction() as connection:
        for days, job in enumerate((new, old, held)):
            connection.execute("UPDATE jobs SET ended = ? WHERE id = ?", (1e9 - days * 86400, job.id))
    kept = lambda: {job.id for job in store.jobs()}  # noqa: E731
    assert remove_old_jobs(store, 1e9 + 1) == 0
    assert remove_old_jobs(store, 1e9 + 6.5 * 86400) == 1
    assert kept() == {held.id, new.id, waiting.id}
    store.limits = replace(LIMITS, keep_bytes=6)
    assert remove_old_jobs(store, 1e9) == 0
    store.limits = replace(LIMITS, keep_bytes=5)
    assert remove_old_jobs(store, 1e9) == 1
    assert kept() == {held.id, waiting.id}
    store.release(held.id, "node")
    store.limits = replace(LIMITS, keep_jobs=0)
    assert remove_old_jobs(store, 1e9) == 1
    assert kept() == {waiting.id}
    assert files_of(store.spool.folder) == {f"jobs/{waiting.id}/upload"}
