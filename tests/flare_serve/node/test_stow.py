"""STOW-RS: what goes over the line, and what the answers of archives mean."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from flare_serve.node.addresses import WebTarget
from flare_serve.node.answers import Result
from flare_serve.node.settings import NodeSettings, Retries
from flare_serve.node.stow import send_by_stow
from tests.flare_serve.node.senders import free_port

SETTINGS = NodeSettings(authorization="Bearer secret", retries=Retries(timeout_seconds=5))
CONTENT = bytes(range(256)) * 9000


def told(*, stored: bool = False, failed: int | None = None) -> bytes:
    answer: dict[str, Any] = {}
    if stored:
        answer["00081199"] = {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2.3"]}}]}
    if failed is not None:
        answer["00081198"] = {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [failed]}}]}
    return json.dumps(answer).encode()


@dataclass
class Web:
    """An archive that gives one answer."""

    code: int = 200
    content: bytes = b""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def web() -> Iterator[Web]:
    archive = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            archive.requests.append((self.path, dict(self.headers), body))
            self.send_response(archive.code)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", str(len(archive.content)))
            self.end_headers()
            self.wfile.write(archive.content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    archive.url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web/studies"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield archive
    server.shutdown()
    server.server_close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "one.dcm"
    place.write_bytes(CONTENT)
    return place


def test_the_file_is_the_one_part_of_the_request(web: Web, path: Path) -> None:
    web.content = told(stored=True)
    assert send_by_stow(path, WebTarget(web.url), SETTINGS).result == Result.STORED
    ((place, headers, body),) = web.requests
    boundary = headers["Content-Type"].rpartition("boundary=")[2]
    assert place == "/dicom-web/studies"
    assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"; ')
    assert headers["Authorization"] == "Bearer secret"
    assert "secret" not in repr(SETTINGS)
    begin, middle, end = body.split(b"--" + boundary.encode())
    assert (begin, end) == (b"", b"--\r\n")
    assert middle == b"\r\nContent-Type: application/dicom\r\n\r\n" + CONTENT + b"\r\n"


@pytest.mark.parametrize(
    ("code", "content", "result"),
    [
        (200, b"", Result.STORED),
        (200, b"<NativeDicomModel/>", Result.STORED),
        (202, told(stored=True), Result.STORED),
        (202, told(failed=0xA700), Result.LATER),
        (200, told(failed=0xA900), Result.NEVER),
        (409, told(failed=0x0111), Result.STORED),
        (409, told(failed=0x0122), Result.NEVER),
        (409, b"", Result.NEVER),
        (400, b"[]", Result.NEVER),
        (415, b"{", Result.NEVER),
        (401, b"", Result.LATER),
        (403, b"", Result.LATER),
        (404, b"", Result.LATER),
        (302, b"", Result.LATER),
        (503, b'{"00081198": {"Value": [{"00081197": {}}]}}', Result.LATER),
    ],
)
def test_what_answers_mean(web: Web, path: Path, code: int, content: bytes, result: Result) -> None:
    web.code, web.content = code, content
    assert send_by_stow(path, WebTarget(web.url), SETTINGS).result == result
    assert len(web.requests) == 1


def test_an_archive_that_is_down_is_tried_later(path: Path) -> None:
    answer = send_by_stow(path, WebTarget(f"http://127.0.0.1:{free_port()}/studies"), SETTINGS)
    assert answer.result == Result.LATER
    assert "cannot be reached" in answer.text
