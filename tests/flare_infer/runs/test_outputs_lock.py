"""One run at a time on a folder of outputs."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flare_infer.errors import UsageError
from flare_infer.runs.outputs_lock import OUTPUTS_LOCK_FILE, outputs_locked

HOLDS = """
import sys
from pathlib import Path
from flare_infer.runs.outputs_lock import outputs_locked
with outputs_locked(Path(sys.argv[1]), print):
    print("locked", flush=True)
    sys.stdin.read()
"""


def nothing_said(line: str) -> None:
    raise AssertionError(line)


def holder(outputs: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(outputs)], stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_who_holds_the_lock_is_named_and_a_kill_lets_go_of_it(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with (
            pytest.raises(UsageError, match=f"process {process.pid} on {os.uname().nodename}"),
            outputs_locked(tmp_path, nothing_said),
        ):
            pass
        process.kill()
    with outputs_locked(tmp_path, nothing_said):
        assert str(os.getpid()) in (tmp_path / OUTPUTS_LOCK_FILE).read_text()
    assert list(tmp_path.iterdir()) == []


def test_half_written_files_of_killed_runs_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".writing-abc.nii", "a.nii.gz", ".hidden", "writing-mine.nii.gz"):
        (tmp_path / name).touch()
    with outputs_locked(tmp_path, nothing_said):
        assert not (tmp_path / ".writing-abc.nii").exists()
        (tmp_path / ".writing-of-a-worker-that-was-killed").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "a.nii.gz", "writing-mine.nii.gz"]


def test_a_lock_that_its_holder_removes_meanwhile_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, path = fcntl.flock, tmp_path / OUTPUTS_LOCK_FILE
    opened = []

    def flock_late(handle: int, operation: int) -> None:
        opened.append(handle)
        if len(opened) == 1:
            path.unlink()
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock_late)
    with outputs_locked(tmp_path, nothing_said):
        assert len(opened) == 2
        assert path.exists()


def test_where_there_are_no_locks_a_line_says_so_and_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / ".writing-abc.nii").touch()
    said: list[str] = []
    with outputs_locked(tmp_path, said.append):
        pass
    assert len(said) == 1
    assert "cannot be locked (No locks available)" in said[0]
    assert (tmp_path / ".writing-abc.nii").exists()


def test_a_link_in_the_lock_s_place_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    (outputs / OUTPUTS_LOCK_FILE).symlink_to(victim)
    said: list[str] = []
    with outputs_locked(outputs, said.append):
        pass
    assert victim.read_text() == "precious"
    assert len(said) == 1
