"""The commands in a folder that holds a `train.py` of the user's: `train` is the name of our package, too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flare_infer.labels import TUMOR
from tests.dataset import make_dataset
from train.workflow.launch import run_stage
from train.workflow.stage import Stage

ROOT = Path(__file__).resolve().parents[3]
COMMAND = "#!{python}\nimport sys\nsys.path.append({root!r})\nfrom train.commands.app import main\nmain()\n"
"""What pip makes of the entry point `flare-train`, for a checkout that may not be installed."""


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with such a file; the command is on the PATH."""
    programs, folder = tmp_path / "bin", tmp_path / "work"
    for place in (programs, folder):
        place.mkdir()
    (programs / "flare-train").write_text(COMMAND.format(python=sys.executable, root=str(ROOT)))
    (programs / "flare-train").chmod(0o755)
    (folder / "train.py").write_text('raise SystemExit("the train.py of the user")\n')
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), os.environ["PATH"]]))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(folder)
    return folder


def test_the_command_is_ours(beside: Path) -> None:
    done = subprocess.run(["flare-train", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pipeline" in done.stdout
    module = subprocess.run([sys.executable, "-m", "train", "--help"], capture_output=True, text=True, check=False)
    assert "the train.py of the user" in module.stderr, "why every start is by the command"


@pytest.mark.parametrize("program", ["flare-train", "torchrun --standalone --nproc-per-node 1 --no-python flare-train"])
def test_a_stage_is_ours(beside: Path, tmp_path: Path, program: str) -> None:
    dataset = make_dataset(tmp_path, {"a": (TUMOR,)})
    command = (*program.split(), "gather", str(dataset), "images")
    stage = Stage(name="gather", command=command, output=beside / "images", proof="a_0000.nii.gz")
    run_stage(stage, tmp_path / "gather.log", lambda: None)
    assert stage.is_there, (tmp_path / "gather.log").read_text()
