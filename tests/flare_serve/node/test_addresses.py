"""The allow-list and the targets, as the command line writes them."""

import base64
from pathlib import Path

import pytest

from flare_infer.errors import UsageError
from flare_serve.node.addresses import (
    LOOPBACK,
    DicomTarget,
    WebTarget,
    admitted,
    authorization_of,
    peer_of,
    target_of,
)


@pytest.mark.parametrize(
    ("entry", "address", "title", "is_admitted"),
    [
        ("CT1@10.1.2.3", "10.1.2.3", "CT1", True),
        ("CT1@10.1.2.3", "10.1.2.3", None, True),
        ("CT1@10.1.2.3", "10.1.2.3", "CT2", False),
        ("CT1@10.1.2.3", "10.1.2.3", "ct1", False),
        ("CT1@10.1.2.3", "10.1.2.4", "CT1", False),
        ("*@10.1.0.0/16", "10.1.77.1", "ANY ONE", True),
        ("*@10.1.0.0/16", "10.2.0.1", "ANY ONE", False),
        ("*@10.1.0.0/16", "::ffff:10.1.0.9", "X", True),
        ("CT1@fe80::/10", "fe80::1%eth0", "CT1", True),
        ("A@B@10.1.2.3", "10.1.2.3", "A@B", True),
        ("CT1@localhost", "127.0.0.1", "CT1", True),
    ],
)
def test_a_peer_is_a_title_and_an_address(entry: str, address: str, title: str | None, is_admitted: bool) -> None:
    assert admitted([peer_of(entry)], address, title) == is_admitted


def test_a_title_is_not_admitted_at_the_address_of_another() -> None:
    peers = [peer_of("CT1@10.1.2.3"), peer_of("CT2@10.1.2.4")]
    assert not admitted(peers, "10.1.2.4", "CT1")
    assert admitted(peers, "10.1.2.4", "CT2")


def test_without_a_list_this_machine_alone_is_admitted() -> None:
    assert admitted([LOOPBACK], "127.0.0.1", "ANY")
    assert admitted([LOOPBACK], "::1", "ANY")
    assert not admitted([LOOPBACK], "192.168.0.7", "ANY")


@pytest.mark.parametrize(
    "entry", ["CT1", "@10.0.0.1", "CT1@", "A" * 17 + "@10.0.0.1", "A\\B@10.0.0.1", "X@no such host"]
)
def test_what_is_no_peer_is_refused(entry: str) -> None:
    with pytest.raises(UsageError, match="--allow"):
        peer_of(entry)


def test_targets() -> None:
    assert target_of("dicom://PACS@archive.example:104") == DicomTarget("PACS", "archive.example", 104)
    for text in ("dicom://PACS@[::1]:104", "dicoms://PACS@archive.example:2762"):
        assert str(target_of(text)) == text
    assert target_of("https://pacs.example/dicom-web/studies/") == WebTarget("https://pacs.example/dicom-web/studies")


@pytest.mark.parametrize(
    "text",
    [
        "PACS@archive:104",
        "dicom://archive:104",
        "dicom://PACS@archive",
        "dicom://PACS@archive:99999",
        "https://pacs.example/dicom-web",
        "https://user:secret@pacs.example/studies",
        "https://pacs.example/studies?key=secret",
        "ftp://pacs.example/studies",
        "http://10.0.0.1/studies",
        "http://127.0.0.1.example/studies",
    ],
)
def test_what_is_no_target_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(UsageError, match="--send-to") as caught:
        target_of(text)
    assert "secret" not in str(caught.value)


def test_a_file_holds_a_token_or_a_password(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("abc.def-123\n", encoding="utf-8")
    assert authorization_of(path, "send_auth") == "Bearer abc.def-123"
    path.write_text("jürgen:geheim\n", encoding="utf-8")
    header = authorization_of(path, "send_auth")
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "jürgen:geheim"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8042", "[::1]:8042"])
def test_results_go_readable_to_this_machine(host: str) -> None:
    assert target_of(f"http://{host}/studies") == WebTarget(f"http://{host}/studies")


@pytest.mark.parametrize("host", ["10.0.0.1", "pacs.example:8042", "127.0.0.1.example", "0.0.0.0"])
def test_results_do_not_go_readable_over_a_network(host: str) -> None:
    with pytest.raises(UsageError, match="use https"):
        target_of(f"HTTP://{host}/studies")


@pytest.mark.parametrize("content", [b"", b"two\nlines", b"t\xc3\xb6ken"])
def test_a_file_of_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"^node\.toml: send_auth: .*secret "):
        authorization_of(path, "node.toml: send_auth")
