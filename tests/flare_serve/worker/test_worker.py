"""A worker whose job is stopped, deleted, or finds no room; and what a damaged upload cannot do."""

import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from flare_infer.runs.case_result import CaseResult
from flare_infer.segment.segmenter import Segmenter
from flare_serve.jobs.job import Job, State
from flare_serve.jobs.progress import Progress
from flare_serve.jobs.spool import Spool
from flare_serve.jobs.store import JobStore
from flare_serve.worker import run
from flare_serve.worker.run import Ran, run_job
from flare_serve.worker.worker import Worker
from tests.flare_serve.served import LIMITS, files_of, until


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(Spool(tmp_path / "spool"), replace(LIMITS, most_starts=2))


def submitted(store: JobStore, content: bytes) -> Job:
    upload = store.incoming()
    upload.write_bytes(content)
    return store.submit(upload, name="scan", origin="http")


def test_a_job_that_is_asked_to_stop_stops_before_its_first_window(
    store: JobStore, segmenter: Segmenter, scan_file: Path
) -> None:
    job = submitted(store, scan_file.read_bytes())
    told: list[object] = []
    ran = run_job(segmenter, store.spool, job, told.append, lambda: True)
    assert (ran.kind, told) == ("stopped", [])


def test_a_job_that_is_running_when_the_service_ends_waits_again(
    store: JobStore, segmenter: Segmenter, scan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submitted(store, scan_file.read_bytes())
    ended: list[Ran] = []
    worker = Worker(store, segmenter, Progress(), lambda job, ran: ended.append(ran))
    monkeypatch.setattr(store, "is_wanted", lambda job_id: bool(worker.stop(0)) or True)  # asked by the worker itself
    monkeypatch.setattr(worker._thread, "join", lambda timeout=None: None)
    worker.start()
    until(lambda: ended)
    assert [ran.kind for ran in ended] == ["stopped"]
    assert (store.job(job.id).state, store.job(job.id).starts) == (State.QUEUED, 0)
    assert files_of(store.spool.folder) == {f"jobs/{job.id}/upload"}


def test_a_running_job_that_is_deleted_stops_and_leaves_nothing(
    store: JobStore, segmenter: Segmenter, scan_file: Path
) -> None:
    job = submitted(store, scan_file.read_bytes())
    ended: list[Ran] = []
    worker = Worker(store, segmenter, Progress(), lambda job, ran: ended.append(ran))
    started = store.next_job(0)
    assert started is not None
    store.remove(job.id)
    assert store.spool.upload(job.id).exists()
    worker._run_one(started)
    assert [ran.kind for ran in ended] == ["stopped"]
    assert not store.spool.job(job.id).exists()


def test_a_job_that_is_deleted_as_it_begins_leaves_nothing_and_ends_nothing(store: JobStore) -> None:
    job = submitted(store, b"NRRD")
    store.subscribe(lambda job: store.remove(job.id) if job.state == State.RUNNING else None)
    assert store.next_job(0) is None
    assert not store.spool.job(job.id).exists()


def test_results_without_room_make_the_job_wait_again_and_fail_at_last(
    store: JobStore, segmenter: Segmenter, scan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submitted(store, scan_file.read_bytes())
    full = CaseResult(name="scan", output=None, seconds=1.0, reason="not written (No space left on device)")
    monkeypatch.setattr(run, "predict_cases", lambda *words, **options: [full])
    worker = Worker(store, segmenter, Progress(), lambda job, ran: None)
    for state in (State.QUEUED, State.FAILED):
        started = store.next_job(0)
        assert started is not None
        worker._run_one(started)
        assert store.job(job.id).state == state
    assert "No space left" in store.job(job.id).reason


@pytest.mark.parametrize("fault", [KeyError("x"), RecursionError("x"), MemoryError("x"), ValueError("x")])
def test_no_upload_ends_the_worker(
    store: JobStore, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def raises(*words: object) -> None:
        raise fault

    monkeypatch.setattr(run, "scan_of", raises)
    ran = run_job(segmenter, store.spool, submitted(store, b"NRRD"), lambda windows: None, lambda: False)
    assert (ran.kind, type(fault).__name__ in ran.outcome.reason) == ("unexpected", True)
    assert "Traceback" in ran.details


@pytest.mark.parametrize(
    "content", [b"NRRD0005\n", b"\x1f\x8b" + bytes(20), bytes(128) + b"DICM" + bytes(400), b"PK\x03\x04"]
)
def test_a_reason_does_not_speak_of_names_of_the_spool(store: JobStore, segmenter: Segmenter, content: bytes) -> None:
    ran = run_job(segmenter, store.spool, submitted(store, content), lambda windows: None, lambda: False)
    assert ran.outcome.reason
    assert not re.match(r"upload\b\S*:", ran.outcome.reason)
    assert "upload." not in ran.outcome.reason


def test_a_line_names_what_the_client_knows(store: JobStore) -> None:
    work, upload = store.spool.work("1" * 32), store.spool.upload("1" * 32)
    text = f"{work}/named/upload.nii.gz: is cut; {upload}/a.dcm: is none; see {upload}, {work}/named/upload.mha"
    assert run._line(text, store.spool, "1" * 32) == "is cut; upload/a.dcm: is none; see the upload, the upload"


def test_names_in_an_archive_lead_nowhere(store: JobStore, segmenter: Segmenter, tmp_path: Path) -> None:
    path = tmp_path / "climbing.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../../climbed.dcm", bytes(128) + b"DICM" + bytes(400))
    ran = run_job(segmenter, store.spool, submitted(store, path.read_bytes()), lambda windows: None, lambda: False)
    assert ran.kind == "scan"
    assert not list(tmp_path.rglob("climbed*"))
    assert str(tmp_path) not in ran.outcome.reason
