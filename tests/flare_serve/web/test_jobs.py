"""Jobs over HTTP: every way in, the results, progress, and what refuses."""

import io
import json
import os
import socket
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the field's own alias

from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.segment.segmenter import Segmenter
from flare_serve.jobs.job import State
from flare_serve.jobs.settings import MIB
from flare_serve.web.service import UploadTimes
from tests.dicom.series import ROOT as DICOM_ROOT
from tests.dicom.series import Made, phantom
from tests.dicom.series import write as write_series
from tests.flare_serve.served import LIMITS, Served, files_of, served, until
from tests.hostile.corpus import KINDS


def dicom(folder: Path, slices: int, number: int = 1) -> list[Path]:
    """Files of a DICOM series."""
    series = Made(array_zyx=phantom((slices, 20, 24)), uid=f"{DICOM_ROOT}{number}")
    write_series(folder, series)
    return sorted(folder.rglob("*.dcm"))


def zipped(files: list[Path]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number, file in enumerate(files):
            archive.write(file, f"../../{number}/{file.name}")
    return content.getvalue()


def test_the_labels_are_those_of_predict_byte_for_byte(service: Served, scan_file: Path, predicted: bytes) -> None:
    content = scan_file.read_bytes()
    raw = service.submit(content, name="raw")
    form = service.client.post("jobs", files={"file": (scan_file.name, content)}).json()
    assert (raw["name"], form["name"]) == ("raw", scan_file.name)
    for job in (raw, form):
        done = service.ended(job["id"])
        assert (done["state"], done["reason"]) == ("done", "")
        assert sorted(done["results"]) == ["labels.nii.gz", "report.html", "statistics.json"]
        got = service.client.get(done["results"]["labels.nii.gz"])
        assert got.content == predicted
        assert got.headers["content-type"] == "application/gzip"
        assert got.headers["content-disposition"] == f'attachment; filename="{job["id"][:8]}-labels.nii.gz"'
        statistics = service.client.get(done["results"]["statistics.json"])
        assert "MUSTERMANN" not in statistics.text
        assert [f"{flag['kind']}: {flag['reason']}" for flag in statistics.json()["flags"]] == done["flags"]
        refused = service.client.get(f"jobs/{job['id']}/seg.dcm")
        assert (refused.status_code, "no DICOM series" in refused.json()["detail"]) == (404, True)
        assert service.client.delete(f"jobs/{job['id']}").status_code == 204
        assert service.client.get(f"jobs/{job['id']}").status_code == 404
        assert not service.store.spool.job(job["id"]).exists()


@pytest.mark.parametrize("ending", [".nii", ".mha", ".nrrd"])
def test_other_formats_are_known_by_their_content(
    service: Served, scan_file: Path, predicted: bytes, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"scan{ending}"
    write_volume(path, read_volume(scan_file))
    done = service.ended(service.submit(path.read_bytes(), name="scan.pdf")["id"])
    assert done["state"] == "done"
    labels = tmp_path / "labels.nii.gz"
    labels.write_bytes(service.client.get(done["results"]["labels.nii.gz"]).content)
    expected = tmp_path / "expected.nii.gz"
    expected.write_bytes(predicted)
    one, other = (sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in (labels, expected))
    assert np.array_equal(one, other)


def test_of_a_zip_with_two_series_the_larger_one_is_segmented(service: Served, tmp_path: Path) -> None:
    small, large = dicom(tmp_path / "a", 10), dicom(tmp_path / "b", 12, number=2)
    job = service.submit(zipped([*small, *large]))
    done = service.ended(job["id"])
    assert done["reason"] == ""
    assert set(done["results"]) >= {"labels.nii.gz", "seg.dcm", "statistics.json", "report.html"}
    assert any(line.startswith("1 other series of this upload left out") for line in done["notices"])
    seg = service.client.get(done["results"]["seg.dcm"])
    assert seg.content[128:132] == b"DICM"
    assert seg.headers["content-type"] == "application/dicom"
    labels = service.client.get(done["results"]["labels.nii.gz"])
    path = tmp_path / "labels.nii.gz"
    path.write_bytes(labels.content)
    assert sitk.ReadImage(str(path)).GetSize()[2] == 12
    named = service.ended(service.submit(zipped([*small, *large]), series=f"{DICOM_ROOT}1")["id"])
    path.write_bytes(service.client.get(named["results"]["labels.nii.gz"]).content)
    assert sitk.ReadImage(str(path)).GetSize()[2] == 10


def test_the_files_of_a_series_may_come_one_by_one(service: Served, tmp_path: Path) -> None:
    files = [("file", (path.name, path.read_bytes())) for path in dicom(tmp_path / "a", 10)]
    answer = service.client.post("jobs", files=[*files, ("file", ("viewer.exe", b"MZ"))], data={"name": "study"})
    assert answer.status_code == 201
    done = service.ended(answer.json()["id"])
    assert (done["reason"], done["name"], "seg.dcm" in done["results"]) == ("", "study", True)


def test_the_report_may_run_its_scripts_and_nothing_else(service: Served, scan_file: Path) -> None:
    done = service.ended(service.submit(scan_file.read_bytes())["id"])
    got = service.client.get(done["results"]["report.html"])
    assert got.headers["content-security-policy"].startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in got.headers["content-security-policy"]
    assert got.headers["content-disposition"].startswith("inline")


def test_events_tell_every_state_until_the_end(service: Served, scan_file: Path) -> None:
    job = service.submit(scan_file.read_bytes())
    with service.client.stream("GET", f"jobs/{job['id']}/events") as stream:
        lines = [line.removeprefix("data: ") for line in stream.iter_lines() if line.startswith("data: ")]
    states = [json.loads(line)["state"] for line in lines]
    assert states == sorted(states, key=["queued", "running", "done"].index)
    assert states[-1] == "done"
    assert json.loads(lines[-1])["progress"] == {"windows_done": 1, "windows": 1}


def test_events_of_all_tell_a_removal(service: Served, scan_file: Path) -> None:
    job = service.submit(scan_file.read_bytes())
    service.ended(job["id"])
    with service.client.stream("GET", "events") as stream:
        lines = stream.iter_lines()
        until(lambda: job["id"] in next(lines))
        service.client.delete(f"jobs/{job['id']}")
        until(lambda: next(lines) == "event: removed")
        assert json.loads(next(lines).removeprefix("data: ")) == {"id": job["id"]}


def test_jobs_are_listed_the_newest_first(service: Served) -> None:
    ids = [service.submit(b"NRRD" + bytes(number))["id"] for number in range(3)]
    for job_id in ids:
        assert service.ended(job_id)["state"] == "failed"
    listed = service.client.get("jobs", params={"limit": 2}).json()["jobs"]
    assert [job["id"] for job in listed] == [ids[2], ids[1]]
    older = service.client.get("jobs", params={"before": ids[1], "limit": 1, "state": "failed"}).json()["jobs"]
    assert [job["id"] for job in older] == [ids[0]]


def test_the_hostile_corpus_ends_in_one_line_each(service: Served, tmp_path: Path) -> None:
    asked, statuses, failed = 0, set(), []
    for number, kind in enumerate(kind for kind in KINDS if kind.outcome == "refused"):
        path = tmp_path / str(number) / kind.file
        path.parent.mkdir()
        kind.write(path)
        if path.is_symlink() or not path.is_file():
            continue
        answer = service.client.post("jobs", content=path.read_bytes(), params={"name": repr(kind.file)})
        path.unlink()
        asked += 1
        statuses.add(answer.status_code)
        if answer.status_code == 201:
            failed.append(answer.json()["id"])
        else:
            assert_one_line(answer.json()["detail"])
    assert asked >= 80
    assert statuses == {201, 415}
    # Some kinds are hostile by their names only, which decide nothing here.
    reasons = [job["reason"] for job in map(service.ended, failed) if job["state"] == "failed"]
    assert len(reasons) >= len(failed) - 3
    for reason in reasons:
        assert_one_line(reason)
        assert str(service.spool) not in reason
        assert "unexpected" not in reason


def assert_one_line(text: str) -> None:
    assert text
    assert "\n" not in text
    assert "Traceback" not in text
    assert len(text) < 1200


@pytest.fixture
def strict(segmenter: Segmenter, tmp_path: Path) -> Iterator[Served]:
    """A service that takes little and does not wait long; its worker is busy with nothing."""
    times = UploadTimes(idle_seconds=0.5, seconds=60)
    limits = replace(LIMITS, upload_bytes=MIB, most_waiting=2)
    with served(tmp_path / "spool", segmenter, limits=limits, upload_times=times) as found:
        yield found


def test_what_is_too_large_is_refused_before_or_while_it_arrives(strict: Served) -> None:
    said = strict.client.post("jobs", content=b"NRRD" + bytes(MIB))
    unsaid = strict.client.post("jobs", content=iter([b"NRRD", bytes(MIB // 2), bytes(MIB)]))
    form = strict.client.post("jobs", files={"file": ("a.nrrd", b"NRRD" + bytes(MIB))})
    assert [answer.status_code for answer in (said, unsaid, form)] == [413, 413, 413]
    assert said.json() == {"detail": "the upload is larger than 1 MiB"}
    assert files_of(strict.spool) == set()


def test_who_stands_still_or_goes_away_leaves_nothing(strict: Served) -> None:
    host, port = strict.client.base_url.host, strict.client.base_url.port
    head = f"POST /jobs HTTP/1.1\r\nHost: {host}\r\nContent-Length: 400000\r\n\r\nNRRD".encode()
    with socket.create_connection((host, port or 0), timeout=60) as gone:
        gone.sendall(head + bytes(200_000))
        until(lambda: files_of(strict.spool) or list((strict.spool / "incoming").iterdir()) or True)
    with socket.create_connection((host, port or 0), timeout=60) as still:
        still.sendall(head)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
            answer += still.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408 ")
    until(lambda: not list((strict.spool / "incoming").iterdir()))
    assert strict.store.jobs() == []


def test_a_full_queue_says_when_to_come_again(strict: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict.store, "next_job", lambda timeout: None)
    until(lambda: not any(job.state == "running" for job in strict.store.jobs()))
    answers = [strict.client.post("jobs", content=b"NRRD") for _ in range(5)]
    assert [answer.status_code for answer in answers[-2:]] == [429, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert len(list((strict.spool / "jobs").iterdir())) == len(strict.store.jobs())


def test_a_full_disk_is_507_and_nothing_is_lost(service: Served, scan_file: Path, predicted: bytes) -> None:
    spool = service.store.spool
    free = type(spool).free
    full = threading.Event()
    full.set()
    job = service.submit(scan_file.read_bytes())
    spool.free = lambda: 0 if full.is_set() else free(spool)  # type: ignore[method-assign]
    try:
        answer = service.client.post("jobs", content=scan_file.read_bytes())
        assert (answer.status_code, answer.headers["retry-after"]) == (507, "60")
        assert_one_line(answer.json()["detail"])
        ready = service.client.get("readyz")
        assert (ready.status_code, ready.json()) == (503, {"problems": ["the disk is full"]})
    finally:
        full.clear()
        del spool.free  # type: ignore[method-assign]
    done = service.ended(job["id"])
    assert service.client.get(done["results"]["labels.nii.gz"]).content == predicted
    assert list((service.spool / "incoming").iterdir()) == []


def test_metrics_count_what_happened(service: Served) -> None:
    service.ended(service.submit(b"NRRD")["id"])
    text = until(lambda: found if 'kind="scan"' in (found := service.client.get("metrics").text) else "")
    for name in (
        *("flare_jobs_waiting", "flare_jobs_running", "flare_spool_free_bytes", "process_resident_memory_bytes"),
        *('flare_jobs_total{kind="scan"}', 'flare_http_requests_total{method="POST",status="201"}'),
    ):
        assert f"\n{name} " in text
    assert ".nii" not in text


def test_openapi_describes_every_route_in_full(service: Served) -> None:
    found = service.client.get("openapi.json").json()
    assert set(found["paths"]) == {
        *("/jobs", "/jobs/{job_id}", "/jobs/{job_id}/events", "/events", "/session", "/healthz", "/readyz"),
        *("/metrics", "/model"),
        *(f"/jobs/{{job_id}}/{name}" for name in ("labels.nii.gz", "seg.dcm", "rtstruct.dcm")),
        *(f"/jobs/{{job_id}}/{name}" for name in ("statistics.json", "report.html")),
    }
    for path, methods in found["paths"].items():
        for method, told in methods.items():
            assert told["summary"], (method, path)
            assert told["description"], (method, path)
            assert all(one["description"] for one in told["responses"].values()), (method, path)
            assert all(one["description"] for one in told.get("parameters", ())), (method, path)
    submit = found["paths"]["/jobs"]["post"]
    assert set(submit["requestBody"]["content"]) == {"application/octet-stream", "multipart/form-data"}
    assert {"201", "408", "413", "415", "429", "507"} <= set(submit["responses"])


def test_a_disk_that_really_fills_up_loses_nothing(
    segmenter: Segmenter, scan_file: Path, predicted: bytes, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        with served(disk / "spool", segmenter) as found:
            left: list[str] = []

            def waits_again() -> bool:
                return any(job.state == State.QUEUED and job.starts for job in found.store.jobs())

            while not waits_again():
                left.append(found.submit(scan_file.read_bytes())["id"])
                until(lambda: waits_again() or found.store.job(left[-1]).state == State.DONE)
            assert len(left) >= 2
            filler = disk / "filler"
            with suppress(OSError):
                filler.write_bytes(bytes(10 * MIB))
            assert found.client.post("jobs", content=scan_file.read_bytes()).status_code == 507
            filler.unlink()
            for job_id in left:
                done = found.ended(job_id)
                assert done["reason"] == ""
                assert found.client.get(done["results"]["labels.nii.gz"]).content == predicted
                assert "report.html" in done["results"]
                found.client.delete(f"jobs/{job_id}")
            assert found.client.post("jobs", content=scan_file.read_bytes()).status_code == 201
            assert list((found.spool / "incoming").iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
