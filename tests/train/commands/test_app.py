"""From a dataset folder to scores, with the commands a user types."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flare_eval.commands.app import app as eval_app
from flare_infer.commands.app import app as infer_app
from flare_infer.formats.volume_io import read_volume
from flare_infer.model.model_file import read_model_file
from flare_infer.shell.interrupt import WORD
from tests.dataset import make_dataset
from train.commands.app import app as train_app
from train.fit.checkpoint import load_checkpoint
from train.recipes.recipe import smoke
from train.record.journal import read_journal
from train.store.store import read_grid


def run(app: object, *arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])  # type: ignore[arg-type]
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path, {"organs": (1, 2, 3, 13), "tumor": (1, 14)})


def test_prepare_fit_export_predict_score(dataset: Path, tmp_path: Path) -> None:
    store, trained, weights, outputs = (tmp_path / name for name in ("store", "run", "weights", "outputs"))
    code, stdout, _ = run(train_app, "prepare", dataset, store, "--recipe", "smoke")
    assert code == 0
    assert "annotated by no case: pancreas, aorta" in stdout

    fit = ("fit", store, trained, "--recipe", "smoke", "--steps", 3, "--device", "cpu")
    code, stdout, _ = run(train_app, *fit)
    assert code == 0
    assert stdout.startswith("training on the CPU, ")
    assert run(train_app, "export", trained, store, weights)[0] == 0
    spec = read_model_file(weights).spec
    assert spec.untrained == (4, 5, 6, 7, 8, 9, 10, 11, 12)
    assert spec.training["annotated_cases"]["1"] == 2
    assert spec.training["steps"] == 3
    card = (weights / "MODEL_CARD.md").read_text()
    assert "| 5 | aorta | none: untrained, never predicted |" in card
    assert "| 14 | tumor | 1 |" in card

    code, stdout, _ = run(infer_app, "info", weights)
    assert code == 0
    assert "untrained: never predicted" in stdout

    assert run(infer_app, "predict", dataset / "imagesTr", outputs, "--weights", weights)[0] == 0
    labels = read_volume(outputs / "organs.nii.gz").array_zyx
    assert not set(labels.flat) & set(spec.untrained)

    annotated = dataset / "annotated.json"
    code, stdout, _ = run(
        eval_app, "score", outputs, dataset / "labelsTr", "--annotated", annotated, "--weights", weights
    )
    assert code == 0, stdout
    assert "untrained" in stdout


def test_scan_split_clean_prepare_objects_fit_export(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, dict.fromkeys(("a1", "a2", "b", "c"), (1, 2, 14)))
    cleaned, store, objects, trained, weights = (
        tmp_path / name for name in ("cleaned", "store", "objects", "run", "weights")
    )
    (dataset / "annotated.json").unlink()
    (dataset / "patients.json").write_text('{"a": ["a1", "a2"]}')
    code, stdout, _ = run(train_app, "scan", dataset)
    assert code == 0
    assert "     4  1 liver, 2 right kidney, 14 tumor\n        a1, a2, b, c\n" in stdout
    assert not (dataset / "annotated.json").exists(), "the user confirms first"
    assert run(train_app, "scan", dataset, "--write")[0] == 0

    assert run(train_app, "split", dataset, "--fraction", 0.3)[0] == 0
    validation = json.loads((dataset / "splits.json").read_text())["validation"]
    assert ("a1" in validation) == ("a2" in validation)
    training = [name for name in ("a1", "a2", "b", "c") if name not in validation]

    code, stdout, _ = run(train_app, "clean", dataset, cleaned, "--smallest", 2)
    assert code == 0
    assert "organs unknown, tumors judged by size alone: a1, a2, b, c" in stdout
    code, stdout, _ = run(train_app, "prepare", cleaned, store, "--recipe", "smoke", "--normalization", "dataset")
    assert code == 0
    assert f"4 cases prepared in {store}, {len(validation)} of them for validation" in stdout
    code, stdout, _ = run(train_app, "objects", cleaned, objects, "--recipe", "smoke", "--store", store)
    assert code == 0
    names = {path.parent.name for path in objects.glob("*/objects.json")}
    assert names == set(training)
    assert (objects / "sheet.png").is_file()

    assert run(train_app, "fit", store, trained, "--recipe", "smoke", "--steps", 1, "--device", "cpu")[0] == 0
    assert run(train_app, "export", trained, store, weights)[0] == 0
    spec = read_model_file(weights).spec
    assert spec.training["cases"] == training
    assert vars(spec.normalization) == read_grid(store)["normalization"] != vars(smoke().spec.normalization)


def test_every_problem_is_a_line(dataset: Path, tmp_path: Path) -> None:
    (dataset / "annotated.json").write_text('{"organs": [1, 2, 3]}')
    (dataset / "labelsTr" / "tumor.nii.gz").write_bytes(b"no image")
    for arguments in (("prepare", dataset, tmp_path / "store"), ("clean", dataset, tmp_path / "cleaned")):
        code, _, stderr = run(train_app, *arguments)
        assert code == 2
        uncovered, contradiction, unreadable = stderr.splitlines()
        assert "case tumor is not listed" in uncovered
        assert "tumor.nii.gz" in unreadable
        assert "organs: labels hold 13 left kidney" in contradiction
    code, _, stderr = run(train_app, "scan", dataset)
    assert code == 2
    unreadable, contradiction = stderr.splitlines()
    assert "tumor.nii.gz" in unreadable
    assert "organs: labels hold 13 left kidney" in contradiction
    assert run(train_app, "clean", dataset, tmp_path / "cleaned", "--organs", "liver")[0] == 2


def test_sigterm_saves_and_the_same_command_goes_on(dataset: Path, tmp_path: Path) -> None:
    store, trained = tmp_path / "store", tmp_path / "run"
    run(train_app, "prepare", dataset, store, "--recipe", "smoke")
    arguments = ["fit", str(store), str(trained), "--recipe", "smoke", "--steps", "100000", "--device", "cpu"]
    for _ in range(2):
        # Two steps of this process's own: only then it surely listens to the signal.
        enough = len(read_journal(trained)) + 2
        command = [sys.executable, "-c", "from train.commands.app import main; main()", *arguments]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while len(read_journal(trained)) < enough:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate()
        assert process.returncode == 1
        word, error = stderr.strip().splitlines()
        assert word == f"{WORD}; Ctrl-C again ends at once, without"
        assert error == f"error: {trained}: interrupted, state saved; the same command goes on from there"
        checkpoint = load_checkpoint(trained)
        assert checkpoint is not None
        assert [int(row["step"]) for row in read_journal(trained)] == list(range(checkpoint.step))


def test_export_keeps_a_card_that_people_wrote(dataset: Path, tmp_path: Path) -> None:
    store, trained, weights = (tmp_path / name for name in ("store", "run", "weights"))
    run(train_app, "prepare", dataset, store, "--recipe", "smoke")
    run(train_app, "fit", store, trained, "--recipe", "smoke", "--steps", 1, "--device", "cpu")
    weights.mkdir()
    (weights / "MODEL_CARD.md").write_text("ours")
    assert run(train_app, "export", trained, store, weights)[0] == 0
    assert (weights / "MODEL_CARD.md").read_text() == "ours"


def test_what_is_impossible_is_one_line(dataset: Path, tmp_path: Path) -> None:
    (dataset / "annotated.json").write_text(json.dumps({"organs": [1, 2, 3, 13]}))
    for arguments, says in (
        (("prepare", dataset, tmp_path / "store"), "case tumor is not listed"),
        (("prepare", tmp_path / "missing", tmp_path / "store"), "expected a folder that holds imagesTr"),
        (("fit", tmp_path / "missing", tmp_path / "run"), "no prepared case"),
        (("export", tmp_path / "missing", tmp_path / "store", tmp_path / "weights"), "no checkpoint"),
    ):
        code, _, stderr = run(train_app, *arguments)
        assert code == 2
        (line,) = stderr.splitlines()
        assert line.startswith("error: ")
        assert says in line


def test_a_type_of_many_cases_names_some_unless_all_are_asked_for(tmp_path: Path) -> None:
    names = [f"case{number:02d}" for number in range(23)]
    dataset = make_dataset(tmp_path, {names[0]: (1,)})
    for name in names[1:]:
        for folder, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
            (dataset / folder / f"{name}{ending}").symlink_to(dataset / folder / f"{names[0]}{ending}")
    (dataset / "annotated.json").write_text('{"default": [1]}')
    code, stdout, _ = run(train_app, "scan", dataset)
    assert code == 0
    assert f"        {', '.join(names[:20])} and 3 more\n" in stdout
    assert f"        {', '.join(names)}\n" in run(train_app, "scan", dataset, "--names")[1]


def test_all_commands_begin_with_the_same_recipe() -> None:
    from typer.main import get_command

    commands = get_command(train_app).commands  # type: ignore[attr-defined]
    defaults = {
        name: parameter.default
        for name, command in commands.items()
        for parameter in command.params
        if parameter.name == "recipe"
    }
    assert defaults == {"prepare": "lite", "objects": "lite", "fit": "lite"}
