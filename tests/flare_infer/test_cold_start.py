"""What one case pays for before its first window, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flare_infer import allocator
from flare_infer.allocator import HUGE_PAGES_VARIABLE, keep_freed_blocks, prepare_allocator
from flare_infer.volume import Volume
from flare_infer.volume_io import write_volume

NOT_NEEDED = ("matplotlib", "pandas", "scipy", "openvino", "PIL", "torch._dynamo", "torch._inductor", "torch.onnx")
"""None of these has a part in segmenting a scan by default; each takes a tenth of a second or several to import."""

SHOWS_MODULES = """
import atexit, sys
atexit.register(lambda: print("MODULES", *sys.modules))
from flare_infer.cli import main
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
    assert {"torch", "flare_infer.network"} <= modules  # else nothing was looked at
    assert sorted(modules.intersection(NOT_NEEDED)) == []


def test_help_does_not_import_torch() -> None:
    modules = set(python("-c", SHOWS_MODULES, "--help").partition("MODULES ")[2].split())
    assert "flare_infer.cli" in modules
    assert "torch" not in modules


def test_large_tensors_are_whole_after_the_allocator_is_prepared() -> None:
    code = """
from flare_infer.allocator import keep_freed_blocks, prepare_allocator
prepare_allocator()
keep_freed_blocks()
import torch
for _ in range(3):
    large = torch.arange(50_000_000, dtype=torch.int32)
    print(int(large[-1]), int(large[12_345_678]))
"""
    assert python("-c", code).split() == ["49999999", "12345678"] * 3


def test_a_choice_of_the_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_huge_pages_on_request", lambda: True)
    monkeypatch.setenv(HUGE_PAGES_VARIABLE, "0")
    prepare_allocator()
    assert os.environ[HUGE_PAGES_VARIABLE] == "0"


@pytest.mark.parametrize(("setting", "kept"), [("always [madvise] never", 0), ("always madvise [never]", 1)])
def test_blocks_are_kept_only_where_there_are_no_huge_pages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str, kept: int
) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(allocator, "keep_freed_blocks", lambda: calls.append(True))
    monkeypatch.setenv(HUGE_PAGES_VARIABLE, "1")
    (tmp_path / "enabled").write_text(setting + "\n")
    monkeypatch.setattr(allocator, "_HUGE_PAGES_SETTING", tmp_path / "enabled")
    prepare_allocator()
    assert len(calls) == kept


def test_nothing_is_done_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    assert not keep_freed_blocks()
