"""Hashes of files, and paths that are not files."""

import hashlib
import os
from pathlib import Path

from flare_infer.files.hashing import sha256_of_file


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = os.urandom(3 * 2**20 + 17)
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    (tmp_path / "file").write_bytes(b"")
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(b"").hexdigest()


def test_what_is_no_file_has_no_hash_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("pipe", "link", "missing", ".", "x" * 300):
        assert sha256_of_file(tmp_path / name) == ""


def test_hashing_stops_when_it_is_no_longer_wanted(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(100 * 2**20)
    asked = []

    def wanted() -> bool:
        asked.append(True)
        return len(asked) < 3

    assert sha256_of_file(tmp_path / "file", wanted) == ""
    assert len(asked) == 3
