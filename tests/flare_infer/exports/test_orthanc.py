"""Objects are stored into an archive, and come back as they were."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flare_infer.exports.dicom_seg import write_dicom_seg
from flare_infer.exports.rtstruct import write_rtstruct
from tests.flare_infer.exports.made import SHAPE, case

LONGEST_START_S = 60


def asked(url: str, content: bytes | None = None) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, content), timeout=30) as answer:
        return answer.read()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[str]:
    """The address of an empty Orthanc on the loopback."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("Orthanc is not installed (Debian: orthanc)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StorageDirectory": str(tmp_path / "archive"),
        "IndexDirectory": str(tmp_path / "archive"),
        "Plugins": [],
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [program, str(tmp_path / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(LONGEST_START_S * 10):
            try:
                asked(f"{url}/system")
                break
            except OSError:
                assert server.poll() is None, "Orthanc ended by itself"
                time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


def stored(url: str, path: Path) -> Any:
    return json.loads(asked(f"{url}/instances", path.read_bytes()))


def test_objects_lie_in_the_study_of_their_source_and_come_back_whole(archive: str, tmp_path: Path) -> None:
    made = case(tmp_path / "series")
    write_dicom_seg(tmp_path / "seg.dcm", made)
    write_dicom_seg(tmp_path / "labelmap.dcm", made, labelmap=True)
    write_rtstruct(tmp_path / "rtstruct.dcm", made)
    empty = case(tmp_path / "again", labels=np.zeros(SHAPE, np.uint8))
    write_dicom_seg(tmp_path / "empty_seg.dcm", empty)
    write_rtstruct(tmp_path / "empty_rtstruct.dcm", empty)
    for path in (tmp_path / "series").iterdir():
        stored(archive, path)
    for path in tmp_path.glob("*.dcm"):
        answer = stored(archive, path)
        assert answer["Status"] == "Success"
        assert asked(f"{archive}/instances/{answer['ID']}/file") == path.read_bytes()
    assert len(json.loads(asked(f"{archive}/patients"))) == 1
    (study,) = json.loads(asked(f"{archive}/studies?expand"))
    assert len(study["Series"]) == 6
