"""What one case pays for before its first window, in a process of its own."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flare_infer.backends import allocator
from flare_infer.backends.allocator import keep_freed_blocks
from flare_infer.commands.app import app
from flare_infer.formats.volume_io import write_volume
from flare_infer.volume.volume import Volume

NOT_NEEDED = ("matplotlib", "pandas", "scipy", "openvino", "PIL", "torch._dynamo", "torch._inductor", "torch.onnx")
"""None of these has a part in segmenting a scan by default; each takes a tenth of a second or several to import."""

SHOWS_MODULES = """
import atexit, sys
atexit.register(lambda: print("MODULES", *sys.modules))
from flare_infer.commands.app import main
main()
"""


def python(*arguments: object, **environment: str) -> str:
    """Standard output of a Python process that has to succeed."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_predict_imports_only_what_it_needs(tiny_weights: Path, scan: Volume, tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.nii.gz", scan)
    arguments = ("predict", tmp_path / "scan.nii.gz", tmp_path / "out", "--weights", tiny_weights, "--device", "cpu")
    output = python("-c", SHOWS_MODULES, *arguments)
    assert (tmp_path / "out" / "scan.nii.gz").is_file()
    modules = set(output.partition("MODULES ")[2].split())
    assert {"torch", "flare_infer.model.network"} <= modules  # else nothing was looked at
    assert sorted(modules.intersection(NOT_NEEDED)) == []


def test_help_does_not_import_torch() -> None:
    modules = set(python("-c", SHOWS_MODULES, "--help").partition("MODULES ")[2].split())
    assert "flare_infer.commands.app" in modules
    assert "torch" not in modules


def test_large_tensors_are_whole_when_blocks_are_kept() -> None:
    code = """
from flare_infer.backends.allocator import keep_freed_blocks
keep_freed_blocks()
import torch
for _ in range(3):
    large = torch.arange(50_000_000, dtype=torch.int32)
    print(int(large[-1]), int(large[12_345_678]))
"""
    assert python("-c", code).split() == ["49999999", "12345678"] * 3


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
@pytest.mark.parametrize(("call", "kept"), [("keep_freed_blocks()", True), ("", False)])
def test_a_freed_block_is_kept(call: str, kept: bool) -> None:
    """Of 200 MB that were allocated, touched and freed, the process still holds most, or next to nothing."""
    code = f"""
from flare_infer.backends.allocator import keep_freed_blocks
from flare_infer.segment.budget import resident_bytes
import torch
{call}
before = resident_bytes()
del (large := {{"tensor": torch.ones(50_000_000)}})["tensor"]
print(resident_bytes() - before > 150_000_000)
"""
    assert python("-c", code).strip() == str(kept)


def test_the_command_keeps_freed_blocks(
    tiny_weights: Path, scan: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(allocator, "keep_freed_blocks", lambda: calls.append(True))
    write_volume(tmp_path / "scan.nii.gz", scan)
    arguments = ["predict", str(tmp_path / "scan.nii.gz"), str(tmp_path / "out"), "--weights", str(tiny_weights)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert calls == [True]


def test_nothing_is_done_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    assert not keep_freed_blocks()
