"""Programs of others talk to the node: Orthanc, by C-STORE and DICOMweb, and DCMTK's tools."""

import json
import shutil
import struct
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flare_serve.node.addresses import DicomTarget, Target, WebTarget, peer_of
from tests.dicom.series import PATIENT, Made, write
from tests.flare_serve.node.senders import Site, free_port, program, until

WEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
LONGEST_START_S = 60


@dataclass
class Orthanc:
    """A running archive: its address, its DICOM port, and whether it knows DICOMweb."""

    url: str
    port: int
    has_web: bool

    def get(self, path: str) -> Any:
        return json.loads(asked(self.url + path))

    def upload(self, folder: Path) -> str:
        """Store the files of a series, and return its name."""
        for path in folder.iterdir():
            name: str = json.loads(asked(f"{self.url}/instances", path.read_bytes()))["ParentSeries"]
        return name

    def send(self, series: str) -> None:
        """Send a series to the node, over an association of Orthanc's own."""
        asked(f"{self.url}/modalities/flare/store", series.encode())

    def series(self, modality: str) -> list[Any]:
        return [one for one in self.get("/series?expand") if one["MainDicomTags"]["Modality"] == modality]


def asked(url: str, content: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, content), timeout=60) as answer:
        found: bytes = answer.read()
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A node that knows the archive's title alone; each test starts it with targets of its own."""
    made = Site(tmp_path_factory.mktemp("site"))
    made.start(title="FLARE", port=free_port(), peers=(peer_of("ORTHANC@127.0.0.1"), peer_of("CT1@127.0.0.1")))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def orthanc(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An empty Orthanc on the loopback that knows the node."""
    found, folder = program("Orthanc", "orthanc"), tmp_path_factory.mktemp("orthanc")
    web, dicom = free_port(), free_port()
    settings = {
        "HttpPort": web,
        "DicomAet": "ORTHANC",
        "DicomPort": dicom,
        "DicomCheckCalledAet": True,
        "DicomModalities": {"flare": ["FLARE", "127.0.0.1", site.node.port]},
        "DicomAssociationCloseDelay": 0,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StorageDirectory": str(folder / "archive"),
        "IndexDirectory": str(folder / "archive"),
        "Plugins": [str(WEB_PLUGIN)] if WEB_PLUGIN.exists() else [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    server = subprocess.Popen([found, folder / "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    made = Orthanc(f"http://127.0.0.1:{web}", dicom, WEB_PLUGIN.exists())
    try:
        for _ in range(LONGEST_START_S * 10):
            try:
                made.get("/system")
                break
            except OSError:
                assert server.poll() is None, "Orthanc ended by itself"
                time.sleep(0.1)
        yield made
    finally:
        server.terminate()
        server.wait(timeout=30)


def again(site: Site, *targets: Target) -> None:
    site.stop()
    site.start(targets=targets, forms=("seg", "rtstruct"))


def came_back(orthanc: Orthanc, study: str) -> bool:
    objects = [one for modality in ("SEG", "RTSTRUCT") for one in orthanc.series(modality)]
    return sum(one["ParentStudy"] == study for one in objects) == 2


@pytest.mark.parametrize("way", ["dicom", "web"])
def test_an_archive_sends_a_series_and_gets_its_results_back(
    way: str, site: Site, orthanc: Orthanc, tmp_path: Path
) -> None:
    if way == "web" and not orthanc.has_web:
        pytest.skip("Orthanc has no DICOMweb (Debian: orthanc-dicomweb)")
    made = Made(uid=f"1.2.3.{len(way)}.1", study=f"1.2.3.{len(way)}.9")
    target = (
        WebTarget(f"{orthanc.url}/dicom-web/studies")
        if way == "web"
        else DicomTarget("ORTHANC", "127.0.0.1", orthanc.port)
    )
    again(site, target)
    series = orthanc.upload(write(tmp_path / "series", made))
    orthanc.send(series)
    job = site.work(rtstruct=True)
    study = orthanc.get(f"/series/{series}")["ParentStudy"]
    until(lambda: came_back(orthanc, study))
    until(lambda: site.node.waiting() == 0)
    assert site.store.job(job.id).notices == ()
    found = orthanc.get(f"/studies/{study}")
    assert len(found["Series"]) == 3
    assert found["PatientMainDicomTags"]["PatientID"] == PATIENT[2]
    (seg,) = (one for one in orthanc.series("SEG") if one["ParentStudy"] == study)
    stored = asked(f"{orthanc.url}/instances/{seg['Instances'][0]}/file")
    result = site.store.result(job.id, "seg.dcm")
    assert result is not None
    assert data_of(stored) == data_of(result.read_bytes())


def data_of(file: bytes) -> bytes:
    """The data set of a DICOM file, behind the head that each program writes for itself."""
    (length,) = struct.unpack_from("<I", file, 140)
    return file[144 + length :]


def dcmtk(name: str, *arguments: str) -> int:
    done = subprocess.run([program(name, "dcmtk"), *arguments], capture_output=True, timeout=60, check=False)
    return done.returncode


def test_dcmtk_echoes_stores_and_is_rejected(site: Site, tmp_path: Path) -> None:
    again(site)
    before, port = len(site.jobs()), str(site.node.port)
    folder = write(tmp_path / "series", Made(uid="1.2.3.7.1", study="1.2.3.7.9"))
    assert dcmtk("echoscu", "-aet", "CT1", "-aec", "FLARE", "127.0.0.1", port) == 0
    assert dcmtk("echoscu", "-aet", "CT2", "-aec", "FLARE", "127.0.0.1", port) != 0
    assert dcmtk("echoscu", "-aet", "CT1", "-aec", "ELSE", "127.0.0.1", port) != 0
    assert dcmtk("storescu", "-aet", "CT1", "-aec", "FLARE", "127.0.0.1", port, "+sd", str(folder)) == 0
    until(lambda: len(site.jobs()) == before + 1)
    assert len(site.instances(site.jobs()[0])) == 12
    site.work()


def test_dcmtk_sends_compressed_slices(site: Site, tmp_path: Path) -> None:
    again(site)
    before, port = len(site.jobs()), str(site.node.port)
    folder, packed = write(tmp_path / "series", Made(uid="1.2.3.8.1", study="1.2.3.8.9")), tmp_path / "packed"
    packed.mkdir()
    for path in folder.iterdir():
        assert dcmtk("dcmcjpeg", "+e1", "+un", str(path), str(packed / path.name)) == 0
    assert dcmtk("storescu", "-xs", "-aet", "CT1", "-aec", "FLARE", "127.0.0.1", port, "+sd", str(packed)) == 0
    until(lambda: len(site.jobs()) == before + 1)
    assert site.work().reason == ""
    shutil.rmtree(packed)
