"""README's training block, command by command as it stands; only the model is a toy, so that it ends in seconds."""

import re
import shlex
from pathlib import Path

import pytest

from tests.dataset import make_dataset
from tests.train.test_cli import run
from train.cli import app

README = Path(__file__).resolve().parents[2] / "README.md"


def commands(section: str) -> list[list[str]]:
    text = README.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    (block, *_) = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [shlex.split(line, comments=True) for line in block.splitlines()]


def test_the_training_block_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_dataset(tmp_path, dict.fromkeys(("a", "b", "c", "d"), (1, 2, 14))).rename(tmp_path / "DATASET")
    (tmp_path / "DATASET" / "annotated.json").unlink()
    monkeypatch.chdir(tmp_path)
    install, *training = commands("Train")
    assert install == ["pip", "install", ".[train]"]
    assert [words[:2] for words in training] == [
        ["flare-train", name] for name in ("scan", "split", "clean", "prepare", "fit", "export")
    ]
    for _, *arguments in training:
        toy = {"prepare": ["--recipe", "smoke"], "fit": ["--recipe", "smoke"]}.get(arguments[0], [])
        code, _, stderr = run(app, *arguments, *toy)
        assert code == 0, stderr
    assert (tmp_path / "weights" / "mine" / "model.safetensors").is_file()
    assert any((tmp_path / "NNUNET").iterdir())
