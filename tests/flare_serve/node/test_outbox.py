"""Results reach archives once, however often these fail and the program ends in between."""

import logging
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from flare_serve.jobs.job import Job, Outcome
from flare_serve.jobs.spool import Spool
from flare_serve.jobs.store import JobStore
from flare_serve.node.addresses import DicomTarget, Target
from flare_serve.node.answers import Answer, Result
from flare_serve.node.outbox import Outbox
from flare_serve.node.records import ORIGIN, holder_of
from flare_serve.node.sending import send
from flare_serve.node.settings import NodeSettings, Retries
from tests.dicom.series import PATIENT, Made
from tests.flare_serve.node.senders import SEG, Archive, Site, associated, sent, slices, until

TARGET, OTHER = DicomTarget("PACS", "127.0.0.1", 104), DicomTarget("OTHER", "127.0.0.1", 105)
LATER, STORED = Answer(Result.LATER, "cannot be reached"), Answer(Result.STORED, "stored")


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    made = Archive()
    with made.listening():
        yield made


@dataclass
class Office:
    """An outbox whose archives answer what a list says, and then that they stored it."""

    folder: Path
    settings: NodeSettings = field(
        default_factory=lambda: NodeSettings(targets=(TARGET,), retries=Retries(first_seconds=0))
    )
    answers: list[Answer] = field(default_factory=list)
    tried: list[tuple[str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    store: JobStore = field(init=False)
    outbox: Outbox = field(init=False)

    def start(self) -> "Office":
        self.store = JobStore(Spool(self.folder / "spool"))
        self.outbox = Outbox(self.store, self.settings, lambda kind: self.counts.update([kind]), self.send)
        return self

    def stop(self) -> None:
        self.outbox.stop(10)
        self.store.close()

    def send(self, path: Path, target: Target, settings: NodeSettings) -> Answer:
        self.tried.append((path.name, str(target)))
        return self.answers.pop(0) if self.answers else STORED

    def job(self, *forms: str, reason: str = "") -> Job:
        """A job that came by DICOM and has ended, with results of some forms."""
        upload = self.store.incoming()
        upload.mkdir()
        job = self.store.submit(upload, name="scan", origin=ORIGIN, hold=holder_of("a" * 32, 1))
        assert self.store.next_job(1) is not None
        results = self.store.spool.results(job.id)
        results.mkdir()
        for form in forms:
            (results / f"scan.{form}.dcm").write_bytes(b"result")
        self.store.end(job.id, Outcome(reason=reason))
        return job

    def is_held(self) -> bool:
        with self.store.database.transaction() as connection:
            return connection.execute("SELECT 1 FROM holds").fetchone() is not None

    def work(self) -> None:
        """Go on until nothing waits and nothing is held."""
        self.outbox.start()
        until(lambda: self.outbox.work() or not (self.outbox.waiting() or self.is_held()))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path).start()
    yield made
    made.stop()


def test_each_form_goes_to_each_target_once(office: Office) -> None:
    office.stop()
    office.settings = replace(office.settings, targets=(TARGET, OTHER), forms=("seg", "rtstruct"))
    office.start().job("seg", "rtstruct")
    office.work()
    names = ("scan.seg.dcm", "scan.rtstruct.dcm")
    assert sorted(office.tried) == sorted((name, str(target)) for name in names for target in (TARGET, OTHER))


def test_what_is_not_stored_is_tried_again(office: Office, caplog: Any) -> None:
    office.answers = [LATER, LATER]
    job = office.job("seg")
    office.work()
    assert office.tried == [("scan.seg.dcm", str(TARGET))] * 3
    assert office.store.job(job.id).notices == ()
    assert office.counts == {"dicom delivery failed": 2, "dicom delivery stored": 1}


def test_pauses_grow_up_to_a_bound() -> None:
    retries = Retries(first_seconds=10, longest_seconds=100)
    assert [retries.pause(attempts) for attempts in (1, 2, 3, 4, 5, 1000)] == [10, 20, 40, 80, 100, 100]


@pytest.mark.parametrize("in_time", [False, True])
def test_a_delivery_that_is_given_up_is_said_in_log_and_counts_and_job(
    office: Office, caplog: Any, in_time: bool
) -> None:
    caplog.set_level(logging.INFO)
    if in_time:
        office.answers = [Answer(Result.NEVER, "refused with status A900")]
    else:
        office.stop()
        office.settings = replace(office.settings, retries=Retries(first_seconds=0.01, for_seconds=0.005))
        office.answers = [LATER] * 9
        office.start()
    job = office.job("seg")
    office.work()
    (notice,) = office.store.job(job.id).notices
    assert notice.startswith(f"seg was not sent to {TARGET}, and will not be: ")
    assert "result given up" in caplog.text
    assert office.counts["dicom delivery given up"] == 1


def test_a_restart_goes_on_with_what_waits_and_does_not_send_what_was_stored(office: Office) -> None:
    office.stop()
    office.settings = replace(office.settings, targets=(TARGET, OTHER), retries=Retries(first_seconds=0.3))
    office.start()
    office.answers = [STORED, LATER]
    office.job("seg")
    office.outbox.start()
    until(lambda: office.outbox.work() or len(office.tried) == 2)
    until(lambda: office.counts["dicom delivery failed"])
    office.stop()
    first = office.tried[0][1]
    office.start().work()
    assert [target for _, target in office.tried].count(first) == 1
    assert len(office.tried) == 3


def test_a_restart_finds_a_job_that_ended_in_the_last_moment(office: Office) -> None:
    office.job("seg")
    office.stop()
    office.start().work()
    assert len(office.tried) == 1


class KilledError(BaseException):
    pass


def test_a_process_that_ends_when_it_lets_a_job_go_sends_nothing_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KilledError

    office.job("seg")
    monkeypatch.setattr(office.outbox._records, "forget_deliveries", killed)  # type: ignore[attr-defined]
    with suppress(KilledError):
        office.work()
    office.stop()
    office.start().work()
    time.sleep(0.05)
    assert len(office.tried) == 1


@pytest.mark.parametrize("reason", ["", "out of memory"])
def test_a_job_without_a_result_to_send_is_let_go(office: Office, reason: str) -> None:
    office.job(reason=reason)
    office.work()
    assert office.tried == []
    assert office.counts == {"dicom result lacking": 1}


def test_what_was_made_is_sent_though_another_form_was_not(office: Office) -> None:
    office.stop()
    office.settings = replace(office.settings, forms=("seg", "rtstruct"))
    office.start().job("seg")
    office.work()
    assert office.tried == [("scan.seg.dcm", str(TARGET))]
    assert office.counts == {"dicom result lacking": 1, "dicom delivery stored": 1}


def test_a_job_that_somebody_removes_is_not_sent(office: Office) -> None:
    job = office.job("seg")
    office.outbox.work()
    office.store.remove(job.id)
    office.work()
    assert office.tried == []


def test_what_waits_for_a_target_that_is_no_longer_one_is_given_up(office: Office) -> None:
    job = office.job("seg")
    office.outbox.work()
    office.stop()
    office.settings = replace(office.settings, targets=(OTHER,))
    office.start().work()
    assert office.tried == []
    assert office.store.job(job.id).notices[0].endswith("it is no longer a target")


def test_an_archive_that_is_down_gets_the_result_when_it_is_up(tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    archive = Archive()
    site = Site(tmp_path)
    site.start(targets=(DicomTarget("ARCHIVE", "127.0.0.1", archive.port),))
    with associated(site.node.port) as association:
        assert sent(association, slices(Made())) == {0}
    site.work()
    until(lambda: site.counts["dicom delivery failed"])
    site.stop()
    site.start()
    with archive.listening():
        until(lambda: site.node.waiting() == 0)
    site.stop()
    assert [kind for kind, _ in archive.received] == [SEG]
    texts = " ".join(str(vars(record)) for record in caplog.records)
    assert not any(word in texts for word in (*PATIENT, "Doe", "Jane", Made().uid))


@pytest.fixture
def seg(tmp_path: Path) -> Path:
    """A file that says it is a segmentation, which is enough to send it."""
    ds = slices(Made())[0]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SEG
    ds.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    return tmp_path / "one.dcm"


SETTINGS = NodeSettings(retries=Retries(timeout_seconds=5))


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (0x0000, Result.STORED),
        (0x0111, Result.STORED),
        (0xB000, Result.STORED),
        (0x0122, Result.NEVER),
        (0xA900, Result.NEVER),
        (0xC123, Result.NEVER),
        (0xA700, Result.LATER),
        (0x0124, Result.LATER),
    ],
)
def test_the_status_of_an_archive_says_whether_it_has_the_object(
    seg: Path, archive: Archive, status: int, result: Result
) -> None:
    archive.status = status
    assert send(seg, DicomTarget("ARCHIVE", "127.0.0.1", archive.port), SETTINGS).result == result


def test_an_archive_of_another_title_may_be_put_right(seg: Path, archive: Archive) -> None:
    answer = send(seg, DicomTarget("OTHER", "127.0.0.1", archive.port), SETTINGS)
    assert answer.result == Result.LATER
    assert "called ae title not recognised" in answer.text


def test_an_archive_that_takes_no_such_objects_never_will(tmp_path: Path, archive: Archive) -> None:
    slices(Made())[0].save_as(tmp_path / "one.dcm", enforce_file_format=True)
    answer = send(tmp_path / "one.dcm", DicomTarget("ARCHIVE", "127.0.0.1", archive.port), SETTINGS)
    assert answer.result == Result.NEVER


def test_an_archive_with_tls_is_trusted_by_its_certificate(
    seg: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = Archive()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    target = DicomTarget("ARCHIVE", "127.0.0.1", secret.port, tls=True)
    with secret.listening(context):
        assert send(seg, target, SETTINGS).result == Result.LATER
        assert secret.received == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert send(seg, target, SETTINGS).result == Result.STORED
