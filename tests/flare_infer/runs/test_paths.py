"""Names read from a file never become paths, and nothing connects to a network."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_infer.formats.volume_io import write_volume
from flare_infer.nnunet.checkpoint import read_checkpoint
from flare_infer.volume.volume import Volume
from tests.nnunet import PLAIN, changed, configuration

ROOT = Path(__file__).resolve().parents[3]
MARK = "escaped"

WATCHED = f"""
import json, sys
WATCHED = ("open", "os", "shutil", "subprocess", "pathlib", "glob", "tempfile", "socket", "import")
seen = []
def watch(event, arguments):
    if event.partition(".")[0] in WATCHED:
        seen.append((event, repr(arguments)))
sys.addaudithook(watch)
from flare_infer.commands.app import app
try:
    app(sys.argv[2:], standalone_mode=False)
finally:
    told = [event for event in seen if {MARK!r} in event[1] or event[0].startswith("socket")]
    with open(sys.argv[1], "w") as file:
        json.dump(told + [len(seen)], file)
"""
"""Runs a command, and tells what it asked of the operating system under a marked name, or of a network."""


def asked(record: Path, *arguments: object) -> list[Any]:
    """What a command asked for under a marked name; last, how many events were watched at all."""
    command = [sys.executable, "-c", WATCHED, str(record), *map(str, arguments)]
    done = subprocess.run(command, cwd=record.parent, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(record.read_text())
    record.unlink()
    return found


def environment() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}


def hostile_model(target: Path) -> Path:
    """A model of nnU-Net in whose files every free name leads elsewhere."""

    def change(plans: dict[str, Any], dataset: dict[str, Any]) -> None:
        for name in ("dataset_name", "plans_name", "experiment_planner_used"):
            plans[name] = f"../../{MARK}/{name}"
        configuration(plans)["data_identifier"] = f"/tmp/{MARK}"
        dataset["name"] = dataset["description"] = dataset["file_ending"] = f"../{MARK}"
        dataset["labels"] = {
            name if code == 0 else f"../../{MARK}/{name}": code for name, code in dataset["labels"].items()
        }
        dataset["channel_names"] = {"0": f"../{MARK}"}

    folder = changed(PLAIN, target, change)
    for path in folder.glob("fold_*/*.pth"):
        weights = dict(read_checkpoint(path).weights)
        torch.save({"network_weights": weights, "trainer_name": f"../../{MARK}/trainer"}, path)
    return folder


@pytest.mark.slow
def test_no_name_from_a_file_becomes_a_path(tmp_path: Path, scan: Volume) -> None:
    home = tmp_path / "a" / "b" / "c"  # deep enough for every ../.. to stay within tmp_path
    home.mkdir(parents=True)
    hostile_model(home / "model")
    (home / "cts").mkdir()
    write_volume(home / "cts" / "one_0000.nii.gz", scan)
    before = set(tmp_path.rglob("*"))
    record = home / "record.json"
    for arguments in (
        ("import-nnunet", "model", "ours", "--configuration", "3d_fullres"),
        ("info", "ours"),
        ("export-nnunet", "ours", "theirs"),
        ("predict", "cts", "labels", "--weights", "ours", "--device", "cpu"),
    ):
        *found, watched = asked(record, *arguments)
        assert found == []
        assert watched > 100, "the watch saw nothing, so this test showed nothing"
    assert MARK in (home / "ours" / "model.json").read_text(), "the names did not arrive, so this test showed nothing"
    assert {str(path.relative_to(home)) for path in set(tmp_path.rglob("*")) - before} == {
        *("ours", "ours/model.json", "ours/model.safetensors", "labels", "labels/one.nii.gz"),
        *("labels/report.json", "labels/report.csv"),
        *("theirs", "theirs/plans.json", "theirs/dataset.json", "theirs/fold_0", "theirs/fold_0/checkpoint_final.pth"),
    }


def test_the_watch_would_see_such_a_path(tmp_path: Path) -> None:
    (tmp_path / MARK).mkdir()
    (tmp_path / MARK / "model.json").write_text("{}")
    command = [sys.executable, "-c", WATCHED, str(tmp_path / "record"), "info", str(tmp_path / MARK)]
    subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False)
    events = json.loads((tmp_path / "record").read_text())[:-1]
    assert any(event == "open" for event, _ in events)
