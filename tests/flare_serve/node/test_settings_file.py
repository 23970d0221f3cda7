"""A node's settings from the command line and a file."""

import re
from pathlib import Path
from typing import Any

import pytest

from flare_infer.errors import UsageError
from flare_serve.node.addresses import LOOPBACK, DicomTarget, WebTarget, peer_of
from flare_serve.node.settings import Limits, NodeSettings, Retries
from flare_serve.node.settings_file import NodeOptions, node_settings

FREE = 5
LIMITS = ("associations", "instance_mib", "series_mib", "series_instances", "open_series", "idle_seconds")

WHOLE = """
title = "AI"
address = "0.0.0.0"
port = 104
allow = ["CT1@10.1.2.3"]
quiet_seconds = 20
released_seconds = 1.5
late_seconds = 60
send_to = ["dicom://PACS@10.1.2.9:104", "https://pacs.example/dicom-web/studies"]
send_forms = ["rtstruct", "seg"]
send_auth = "secret"
tls_certificate = "node.crt"
tls_key = "/etc/node.key"
[limits]
associations = 3
instance_mib = 4
[retries]
for_hours = 2
"""


def read(tmp_path: Path, text: str, **options: Any) -> NodeSettings:
    (tmp_path / "secret").write_text("token", encoding="utf-8")
    (tmp_path / "node.toml").write_text(text, encoding="utf-8")
    found = node_settings(NodeOptions(file=tmp_path / "node.toml", **options), FREE)
    assert found is not None
    return found


def test_without_port_and_file_there_is_no_node() -> None:
    assert node_settings(NodeOptions(), FREE) is None


@pytest.mark.parametrize("options", [{"allow": ["*@10.0.0.1"]}, {"send_to": ["dicom://A@b:1"]}, {"quiet_seconds": 0.0}])
def test_options_of_a_node_need_one(options: Any) -> None:
    with pytest.raises(UsageError, match="add --dicom-port"):
        node_settings(NodeOptions(**options), FREE)


def test_a_port_is_enough_for_a_node_of_this_machine() -> None:
    assert node_settings(NodeOptions(port=104), FREE) == NodeSettings(port=104, limits=Limits(free_bytes=FREE))


def test_a_file_says_everything(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE) == NodeSettings(
        title="AI",
        host="0.0.0.0",
        port=104,
        peers=(peer_of("CT1@10.1.2.3"),),
        quiet_seconds=20.0,
        released_seconds=1.5,
        late_seconds=60.0,
        targets=(DicomTarget("PACS", "10.1.2.9", 104), WebTarget("https://pacs.example/dicom-web/studies")),
        forms=("rtstruct", "seg"),
        authorization="Bearer token",
        limits=Limits(associations=3, instance_bytes=4 * 2**20, free_bytes=FREE),
        retries=Retries(for_seconds=7200.0),
        tls=(tmp_path / "node.crt", Path("/etc/node.key")),
    )


def test_options_go_before_the_file_and_lists_are_joined(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        WHOLE,
        port=11112,
        title="OTHER",
        quiet_seconds=0.5,
        allow=["CT2@10.1.2.4"],
        send_to=["dicom://PACS@10.1.2.9:104", "dicom://NEW@10.1.2.8:104"],
    )
    assert (found.port, found.title, found.quiet_seconds) == (11112, "OTHER", 0.5)
    assert found.peers == (peer_of("CT1@10.1.2.3"), peer_of("CT2@10.1.2.4"))
    assert [str(target) for target in found.targets][::2] == ["dicom://PACS@10.1.2.9:104", "dicom://NEW@10.1.2.8:104"]


def test_an_empty_file_is_a_node_of_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "").peers == (LOOPBACK,)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("titel = 'AI'", "titel is not known"),
        ("[limits]\nassociation = 3", "limits.association is not known"),
        ("port = '104'", "port is of the wrong kind"),
        ("port = true", "port is of the wrong kind"),
        ("port = 70000", "port 70000: expected"),
        ("quiet_seconds = -1", "out of range"),
        ("quiet_seconds = nan", "out of range"),
        ("allow = [1]", "allow: expected a list of texts"),
        ("send_forms = ['pdf']", "pdf is not known"),
        ("address = 'localhost'", "address localhost"),
        ("address = '0.0.0.0'", "nobody may send from there"),
        ("tls_key = 'a'", "give both"),
        ("title = ", "is no TOML"),
        ("title = '\\\\'", "AE title"),
        ("allow = ['CT1']", "allow CT1: expected AET@ADDRESS"),
        ("send_to = ['http://10.0.0.1/studies']", "send_to http://10.0.0.1/studies: results name the patient"),
        ("send_auth = 'none'", "send_auth: .*none cannot be read"),
        *((f"[limits]\n{key} = 0", f"limits.{key} = 0 is too small") for key in LIMITS),
        ("[limits]\nassociations = -1", "out of range"),
        ("[retries]\nfirst_seconds = 0", "retries.first_seconds = 0 is too small"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path: Path, text: str, finding: str) -> None:
    with pytest.raises(UsageError, match=finding) as caught:
        read(tmp_path, text)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'node.toml'}: ") or "add --allow" in said
    for option in re.findall(r"--[a-z-]+", said):
        assert option in {"--allow", "--dicom-settings"}


def test_zero_is_taken_where_it_makes_sense(tmp_path: Path) -> None:
    found = read(tmp_path, "quiet_seconds = 0\nport = 0\n[retries]\nfor_hours = 0")
    assert (found.quiet_seconds, found.port, found.retries.for_seconds) == (0, 0, 0)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        node_settings(NodeOptions(file=tmp_path / "none.toml"), FREE)
