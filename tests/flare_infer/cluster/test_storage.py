"""Inputs and outputs in a store of objects: a real S3 interface on the loopback, and what needs none."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flare_infer.cluster.storage import RemoteFolder, as_path
from flare_infer.commands.app import app
from flare_infer.errors import UsageError
from flare_infer.formats.volume_io import find_images, write_volume
from flare_infer.runs.folder import predict_cases
from flare_infer.segment.segmenter import Segmenter
from flare_infer.volume.volume import Volume

BUCKET = "hospital"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("scans", "scans"),
        ("/data/a b", "/data/a b"),
        ("file:///data/a%20b", "/data/a b"),
        ("file://localhost/data", "/data"),
        ("c:/data", "c:/data"),
    ],
)
def test_ordinary_folders_are_paths(text: str, path: str) -> None:
    assert as_path(text) == Path(path)


@pytest.mark.parametrize("url", ["s3://bucket/ct", "gs://bucket", "memory://ct"])
def test_other_urls_are_none(url: str) -> None:
    assert as_path(url) is None


def test_a_protocol_that_nobody_knows_is_named() -> None:
    with pytest.raises(UsageError, match="nobody://ct: Protocol not known"):
        RemoteFolder("nobody://ct").files()


def test_what_appears_only_piecemeal_gets_another_name_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = pytest.importorskip("fsspec.implementations.local", reason="the store of objects needs fsspec")
    local = stores.LocalFileSystem
    seen: list[str] = []
    put = local.put_file
    monkeypatch.setattr(local, "put_file", lambda self, file, name, **_: (seen.append(name), put(self, file, name)))
    (tmp_path / "a").write_bytes(b"whole")
    RemoteFolder(f"file://{tmp_path}/store").put(tmp_path / "a", "a")
    assert [Path(name).name for name in seen] == [".writing-a"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "store").iterdir()} == {"a": b"whole"}


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket in moto's server, a process of its own; its file system."""
    pytest.importorskip("moto", reason="the store of objects needs moto")
    s3fs = pytest.importorskip("s3fs", reason="the store of objects needs s3fs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, server)
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        system = s3fs.S3FileSystem()
        system.mkdir(BUCKET)
        yield system
        s3fs.S3FileSystem.clear_instance_cache()
    finally:
        server.kill()
        server.wait()


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the server of the store did not start")


def there(system: Any, folder: str) -> dict[str, bytes]:
    system.invalidate_cache()
    return {path.rpartition("/")[2]: system.cat_file(path) for path in system.ls(folder, detail=False)}


@pytest.mark.filterwarnings("default")  # botocore's own
def test_a_bucket_gets_what_a_folder_gets_and_the_same_run_again_does_nothing(
    store: Any, tmp_path: Path, scan: Volume, tiny_weights: Path
) -> None:
    inputs, alone = tmp_path / "inputs", tmp_path / "alone"
    inputs.mkdir()
    alone.mkdir()
    for number in range(3):
        write_volume(inputs / f"case{number}_0000.nii.gz", replace(scan, array_zyx=scan.array_zyx + number))
    predict_cases(Segmenter.load(tiny_weights), find_images(inputs), alone)
    expected = {path.name: path.read_bytes() for path in alone.glob("*.nii.gz")}
    (inputs / "bad_0000.nii.gz").write_bytes(b"no image")
    store.put(f"{inputs}/", f"{BUCKET}/ct/", recursive=True)
    command = ("predict", f"s3://{BUCKET}/ct", f"s3://{BUCKET}/labels", "--weights", tiny_weights, "--statistics")

    code, out, err = run(*command)
    assert code == 1
    assert err.count("bad_0000") == 1
    assert f"s3://{BUCKET}/ct/bad_0000.nii.gz: not a readable image" in err
    found = there(store, f"{BUCKET}/labels")
    assert {name: content for name, content in found.items() if name.endswith(".nii.gz")} == expected
    names = {f"case{number}.statistics.json" for number in range(3)} | {"report.json", "report.csv", "statistics.csv"}
    assert set(found) == set(expected) | names
    cases = {case["name"]: case["status"] for case in json.loads(found["report.json"])["cases"]}
    assert cases == {"case0": "written", "case1": "written", "case2": "written", "bad": "failed"}
    assert str(os.path.realpath(tmp_path)) not in found["report.json"].decode()

    times = {entry["name"]: entry["LastModified"] for entry in store.ls(f"{BUCKET}/labels", detail=True)}
    store.pipe_file(f"{BUCKET}/labels/case1.nii.gz", b"changed by hand")
    code, out, err = run(*command)
    assert code == 1
    assert out.count("done before") == 2
    assert "case1.nii.gz is in no report, or was changed since" in err
    after = there(store, f"{BUCKET}/labels")
    assert after["case1.nii.gz"] == expected["case1.nii.gz"]
    assert after["case1.nii.gz.old"] == b"changed by hand"
    later = {entry["name"]: entry["LastModified"] for entry in store.ls(f"{BUCKET}/labels", detail=True)}
    assert all(later[name] == times[name] for name in times if name.endswith(("case0.nii.gz", "case2.nii.gz")))

    code, out, err = run("predict", f"s3://{BUCKET}/ct", f"s3://{BUCKET}/ct", "--weights", tiny_weights)
    assert code == 2
    assert "are inputs and outputs exchanged" in err


class Refusing(BaseHTTPRequestHandler):
    """A store that has no bucket `missing`, and does not know who asks for another one."""

    def do_GET(self) -> None:
        missing = self.path.lstrip("/").startswith("missing")
        code, word = (404, "NoSuchBucket") if missing else (403, "InvalidAccessKeyId")
        said = f"<Error><Code>{word}</Code><Message>{word}, as a store says it</Message></Error>".encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    s3fs = pytest.importorskip("s3fs", reason="the store of objects needs s3fs")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.filterwarnings("default")  # botocore's own
@pytest.mark.parametrize(
    ("url", "which", "said"),
    [
        ("s3://unreachable/x", "inputs", "Could not connect to the endpoint URL"),
        ("s3://unreachable/x", "outputs", "Could not connect to the endpoint URL"),
        ("s3://keys/x", "inputs", "InvalidAccessKeyId, as a store says it"),
        ("s3://missing/x", "outputs", "there is no bucket missing"),
    ],
)
def test_a_store_that_is_not_there_or_lets_nobody_in_is_one_line(
    url: str, which: str, said: str, refusing: None, tmp_path: Path, scan: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "unreachable" in url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    write_volume(tmp_path / "one.mha", scan)
    code, out, err = run("predict", *((url, tmp_path / "labels") if which == "inputs" else (tmp_path, url)))
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"error: {url}: cannot be reached (")
    assert said in err
    assert not (tmp_path / "labels").exists()
