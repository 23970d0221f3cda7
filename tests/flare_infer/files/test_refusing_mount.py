"""Shares that refuse mode bits, syncing or hard links (CIFS, Azure Files, S3): results are written all the same."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flare_infer.files.backup import keep_old
from flare_infer.files.write_whole import NotWrittenError, to_disk, whole_folder, write_whole
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.model.network import UNet
from flare_infer.model.weights import save_model
from flare_infer.volume.volume import Volume
from tests.flare_infer.commands.test_app import REPORT, run
from tests.tiny import load_model, tiny_spec

REFUSED = ("chmod", "fchmod", "lchmod", "fsync", "fdatasync", "link", "utime", "chown")


@pytest.fixture(params=[(name, code) for name in REFUSED for code in (errno.EPERM, errno.ENOTSUP)])
def refused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A system call that the mount refuses, whoever makes it."""
    name, code = request.param

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, refuse, raising=False)
    return str(name)


def test_label_maps_and_report_are_kept_all_the_same(
    refused: str, tiny_weights: Path, scan: Volume, tmp_path: Path
) -> None:
    inputs, outputs = tmp_path / "inputs", tmp_path / "outputs"
    inputs.mkdir()
    outputs.mkdir()
    for name in ("one_0000.nii.gz", "two.mha"):
        write_volume(inputs / name, scan)
    edited = replace(scan, array_zyx=(scan.array_zyx > 40).astype("u1"))
    write_volume(outputs / "two.nii.gz", edited)  # nobody's, so that it must make room
    code, stdout, stderr = run("predict", inputs, outputs, "--weights", tiny_weights, "--device", "cpu")
    assert (code, stdout.count(": written in")) == (0, 2), stderr
    assert "two.nii.gz.old" in stderr
    assert "disk full" not in stderr
    assert "cannot be kept" not in stderr
    assert "cannot be locked" not in stderr
    names = ["one.nii.gz", *REPORT, "two.nii.gz", "two.nii.gz.old"]
    assert sorted(path.name for path in outputs.iterdir()) == names
    assert read_volume(outputs / "one.nii.gz").shape == scan.shape
    report = json.loads((outputs / "report.json").read_text(encoding="utf-8"))
    assert [case["status"] for case in report["cases"]] == ["written", "written"]
    again = run("predict", inputs, outputs, "--weights", tiny_weights, "--device", "cpu")
    assert (again[0], again[1].count(": done before")) == (0, 2), again[2]


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha", ".nrrd"])
def test_volumes_of_every_format_are_written(refused: str, scan: Volume, tmp_path: Path, ending: str) -> None:
    write_volume(tmp_path / f"x{ending}", scan)
    assert [path.name for path in tmp_path.iterdir()] == [f"x{ending}"]


def test_files_and_folders_are_written(refused: str, tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "new")
    with whole_folder(tmp_path / "b") as part:
        (part / "c").write_text("new")
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "b", tmp_path / "b" / "c"]


def test_weights_are_written(refused: str, tmp_path: Path) -> None:
    spec = tiny_spec()
    save_model(tmp_path, spec, UNet(spec.network, spec.classes))
    assert load_model(tmp_path, torch.device("cpu"))[0] == spec


def test_a_file_makes_room(refused: str, tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_text("mine")
    assert keep_old(path).read_text() == "mine"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails_while_syncing_is_told(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(code))
    with (tmp_path / "x").open("wb") as file, pytest.raises(OSError, match=os.strerror(code)):
        to_disk(file.fileno())
    with pytest.raises(NotWrittenError, match=os.strerror(code)):
        write_whole(tmp_path / "x", "new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"")]


def failing(code: int) -> Callable[[int], None]:
    def fail(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    return fail
