"""What sends to a node, what it sends to, and what takes the place of the worker."""

import shutil
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association

from flare_serve.jobs.job import Job, Outcome
from flare_serve.jobs.spool import Spool
from flare_serve.jobs.store import JobStore
from flare_serve.node.node import DicomNode
from flare_serve.node.settings import NodeSettings, Retries
from flare_serve.node.sockets import Entity
from tests.dicom.series import Made, header

CT = "1.2.840.10008.5.1.4.1.1.2"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
EXPLICIT = "1.2.840.10008.1.2.1"

QUICK = NodeSettings(
    port=0,
    quiet_seconds=60.0,
    released_seconds=0.05,
    retries=Retries(first_seconds=0.1, longest_seconds=0.2, timeout_seconds=5.0),
)
"""Of a node that waits for nothing but the end of an association."""


def until(true: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What a function returns once that is something; many times what it takes."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return found


@dataclass
class Site:
    """A store with a node, which can be stopped and started again on the same folder."""

    folder: Path
    settings: NodeSettings = QUICK
    store: JobStore = field(init=False)
    node: DicomNode = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)

    def start(self, **changes: Any) -> None:
        self.settings = replace(self.settings, **changes)
        self.store = JobStore(Spool(self.folder / "spool"))
        self.node = DicomNode(self.store, self.settings, lambda kind: self.counts.update([kind]))
        self.node.start()

    def stop(self) -> None:
        self.node.stop()
        self.store.close()

    def jobs(self) -> list[Job]:
        return self.store.jobs("dicom")

    def work(self, *, seg: bool = True, rtstruct: bool = False, reason: str = "") -> Job:
        """Do the next job in the place of a worker: every scan has the same labels."""
        job = until(lambda: self.store.next_job(0.01))
        if not reason:
            segment(self.store, job, seg=seg, rtstruct=rtstruct)
        self.store.end(job.id, Outcome(reason=reason))
        return self.store.job(job.id)

    def instances(self, job: Job) -> set[str]:
        """SOPInstanceUIDs of the files of a job that waits."""
        return {str(dcmread(path).SOPInstanceUID) for path in self.store.spool.upload(job.id).iterdir()}


def segment(store: JobStore, job: Job, *, seg: bool, rtstruct: bool) -> None:
    from flare_infer.dicom.find import dicom_files, find_series
    from flare_infer.dicom.volume import read_series
    from flare_infer.exports.dicom_seg import write_dicom_seg
    from flare_infer.exports.rtstruct import write_rtstruct
    from flare_infer.labels import NAMES
    from flare_infer.results.case import SegmentedCase

    upload, results = store.spool.upload(job.id), store.spool.results(job.id)
    results.mkdir()
    ((series,), _) = find_series(upload, dicom_files(upload, None))
    scan = read_series(series)
    found = np.zeros(scan.array_zyx.shape, np.uint8)
    found[2:6, 4:12, 5:14] = 1
    labels = replace(scan, array_zyx=found)
    case = SegmentedCase(
        name=series.name, scan=scan, labels=labels, names=NAMES, source=series, made_with={"model": "lite"}
    )
    if seg:
        write_dicom_seg(results / "scan.seg.dcm", case)
    if rtstruct:
        write_rtstruct(results / "scan.rtstruct.dcm", case)


@contextmanager
def associated(
    port: int, *, calling: str = "SCANNER", called: str = "FLARE", syntaxes: Sequence[str] = (EXPLICIT,)
) -> Iterator[Association]:
    entity = Entity(calling)
    entity.add_requested_context(CT, list(syntaxes))
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", port, ae_title=called)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def slices(made: Made) -> list[Dataset]:
    return [header(made, index) for index in range(len(made.array_zyx))]


def sent(association: Association, instances: Sequence[Dataset]) -> set[int]:
    """The statuses of the answers."""
    return {association.send_c_store(one).Status for one in instances}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@dataclass
class Archive:
    """Takes what is sent to it, and answers with a status."""

    port: int = field(default_factory=free_port)
    status: int = 0
    received: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def listening(self, tls: ssl.SSLContext | None = None) -> Iterator[None]:
        entity = Entity("ARCHIVE")
        entity.require_called_aet = True
        entity.add_supported_context(SEG)
        entity.add_supported_context("1.2.840.10008.5.1.4.1.1.481.3")
        server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._take)], ssl_context=tls
        )
        try:
            yield
        finally:
            server.shutdown()

    def _take(self, event: Any) -> int:
        self.received.append((str(event.request.AffectedSOPClassUID), str(event.request.AffectedSOPInstanceUID)))
        return self.status


def program(name: str, package: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: {package})")
    return found
