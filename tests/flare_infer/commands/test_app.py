"""The command as a user meets it."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import typer
from typer.testing import CliRunner

from flare_eval.commands.app import app as eval_app
from flare_infer import __version__
from flare_infer.commands.app import app
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.model.model_file import read_model_file, write_spec
from flare_infer.model.network import UNet
from flare_infer.model.weights import save_model
from flare_infer.volume.volume import Volume
from tests.tiny import tiny_spec
from train.commands.app import app as train_app

REPORT = ("report.csv", "report.json")


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def inputs(tmp_path: Path, scan: Volume) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    write_volume(folder / "one_0000.nii.gz", scan)
    write_volume(folder / "two.mha", scan)
    return folder


def test_every_case_is_written(tiny_weights: Path, inputs: Path, tmp_path: Path, scan: Volume) -> None:
    outputs = tmp_path / "new" / "outputs"
    code, stdout, stderr = run("predict", inputs, outputs, "--weights", tiny_weights, "--device", "cpu")
    assert (code, stderr) == (0, "")
    assert sorted(path.name for path in outputs.iterdir()) == ["one.nii.gz", *REPORT, "two.nii.gz"]
    one, two = read_volume(outputs / "one.nii.gz"), read_volume(outputs / "two.nii.gz")
    assert one.shape == scan.shape
    np.testing.assert_array_equal(one.array_zyx, two.array_zyx)
    assert "one.nii.gz: written" in stdout


def test_an_estimate_does_three_cases_and_says_what_the_rest_costs(
    tiny_weights: Path, inputs: Path, tmp_path: Path, scan: Volume
) -> None:
    for number in range(4):
        write_volume(inputs / f"more{number}.nii.gz", scan)
    options = ("--weights", tiny_weights, "--device", "cpu")
    code, stdout, stderr = run("predict", inputs, tmp_path / "outputs", *options, "--estimate", "2")
    assert (code, stderr) == (0, "")
    assert len(list((tmp_path / "outputs").glob("*.nii.gz"))) == 3
    assert "estimate: 3 case(s) left" in stdout
    code, stdout, _ = run("predict", inputs, tmp_path / "outputs", *options)
    assert code == 0
    assert stdout.count("done before") == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--to", "nifti,seg"), "--to: unknown form seg; choose of nifti, dicom-seg"),
        (("--to", "dicom-seg"), "--to dicom-seg: needs DICOM series as inputs"),
        (("--again", "--share"), "--again with --share"),
        (("--part", "3/2"), "--part 3/2: expected I/N"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    tiny_weights: Path, inputs: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    code, _, stderr = run("predict", inputs, tmp_path / "outputs", "--weights", tiny_weights, *options)
    assert code == 2
    assert said in stderr
    assert not (tmp_path / "outputs").exists()


def test_info_says_that_the_hash_is_right_wrong_or_missing(tiny_weights: Path, inputs: Path, tmp_path: Path) -> None:
    path = tiny_weights / "model.safetensors"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    code, stdout, _ = run("info", tiny_weights)
    assert (code, f"{sha256} (as model.json records)" in stdout) == (0, True)

    write_spec(read_model_file(tiny_weights).spec, tiny_weights)
    code, stdout, _ = run("info", tiny_weights)
    addition = f'"sha256": "{sha256}"'
    assert (code, f"not recorded: add {addition} to model.json" in stdout) == (0, True)
    code, _, stderr = run("predict", inputs, tmp_path / "out", "--weights", tiny_weights)
    assert (code, len(stderr.splitlines())) == (0, 1)
    assert "not checked; `flare-infer info` says how to add it" in stderr

    # Added as it was said.
    record = tiny_weights / "model.json"
    record.write_text(record.read_text().replace("{", "{" + addition + ",", 1))
    assert run("info", tiny_weights)[0] == 0
    path.write_bytes(bytes(100))
    for arguments in (("info", tiny_weights), ("predict", inputs, tmp_path / "out", "--weights", tiny_weights)):
        code, _, stderr = run(*arguments)
        assert (code, len(stderr.splitlines())) == (2, 1)
        assert "damaged, cut short or exchanged" in stderr


def test_names_from_a_file_are_no_markup(tiny_weights: Path) -> None:
    spec = tiny_spec(name="[red]n", labels=("background", "[/red]liver"), training={"annotated_cases": [1]})
    save_model(tiny_weights, spec, UNet(spec.network, spec.classes))
    code, stdout, _ = run("info", tiny_weights)
    assert code == 0
    assert "[red]n" in stdout
    assert "[/red]liver" in stdout


def test_a_single_file_is_a_case(tiny_weights: Path, inputs: Path, tmp_path: Path) -> None:
    code, _, _ = run("predict", inputs / "two.mha", tmp_path / "out", "--weights", tiny_weights)
    assert code == 0
    assert (tmp_path / "out" / "two.nii.gz").is_file()


def test_a_single_file_may_have_its_labels_in_a_folder_beside_it(tiny_weights: Path, inputs: Path) -> None:
    assert run("predict", inputs / "two.mha", inputs / "labels", "--weights", tiny_weights)[0] == 0


def test_bad_cases_are_named_and_the_others_segmented(tiny_weights: Path, inputs: Path, tmp_path: Path) -> None:
    (inputs / "broken.nii.gz").write_bytes(b"this is no image")
    sitk.WriteImage(sitk.Image([4, 4, 4, 2], sitk.sitkInt16), str(inputs / "film.nii.gz"))
    outputs = tmp_path / "outputs"
    code, _, stderr = run("predict", inputs, outputs, "--weights", tiny_weights)
    assert code == 1
    assert sorted(path.name for path in outputs.iterdir()) == ["one.nii.gz", *REPORT, "two.nii.gz"]
    lines = stderr.splitlines()
    assert len(lines) == 3
    assert "broken.nii.gz: not a readable image" in lines[0]
    assert "film.nii.gz: expected one scalar volume of 3 dimensions" in lines[1]
    assert "2 of 4 cases failed" in lines[2]


def test_an_unexpected_error_stays_inside_its_case(
    tiny_weights: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> Volume:
        if path.name.startswith("one"):
            raise ZeroDivisionError("surprise")
        return read_volume(path)

    monkeypatch.setattr("flare_infer.runs.scan.read_volume", read)
    code, stdout, stderr = run("predict", inputs, tmp_path / "out", "--weights", tiny_weights)
    assert code == 1
    assert "unexpected ZeroDivisionError: surprise" in stderr
    assert "Traceback" not in stderr
    assert "two.nii.gz: written" in stdout
    assert "Traceback" in run("predict", inputs, tmp_path / "out", "--weights", tiny_weights, "--debug")[2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("missing", "out"), "missing: expected a folder of images, found nothing"),
        (("empty", "out"), "no image found"),
        (("inputs", "inputs"), "nothing is ever written"),
        (("inputs", "inputs/labels"), "nothing is ever written"),
        (("inputs/two.mha", "inputs"), "nothing is ever written"),
        (("inputs", "out", "--weights", "empty"), "no model.json here"),
        (("inputs", "out", "--device", "abacus"), "abacus"),
        (("inputs", "occupied"), "cannot be made a folder"),
        (("inputs", "circle"), "cannot be made a folder"),
        (("circle", "out"), "circle: cannot be listed (Too many levels of symbolic links)"),
        (("circle/inputs", "out"), "cannot be listed (Too many levels of symbolic links)"),
        (("pipe.nii.gz", "out"), "pipe.nii.gz: expected a folder of images, found a file"),
        (("inputs", "/proc"), "/proc: cannot be written to"),  # where not even root may write
    ],
)
def test_what_is_impossible_is_one_line_and_exit_code_2(
    tiny_weights: Path,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLARE_WEIGHTS", str(tiny_weights))
    (tmp_path / "empty").mkdir()
    (tmp_path / "occupied").touch()
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    before = sorted(path.name for path in inputs.iterdir())
    code, stdout, stderr = run("predict", *arguments)
    assert (code, stdout) == (2, "")
    assert stderr.startswith("error: ")
    assert says in stderr
    assert len(stderr.splitlines()) == 1
    assert sorted(path.name for path in inputs.iterdir()) == before


def test_a_wrong_name_of_a_model_gets_the_names_that_there_are(tmp_path: Path) -> None:
    assert "or lite, which came along" in run("info", "lit")[2]


def test_images_in_folders_inside_the_inputs_are_counted(tiny_weights: Path, inputs: Path, tmp_path: Path) -> None:
    (inputs / "more" / "deep").mkdir(parents=True)
    (inputs / ".hidden").mkdir()
    for place in ("more/three.mha", "more/deep/four.mha", ".hidden/five.mha"):
        shutil.copy(inputs / "two.mha", inputs / place)
    code, _, stderr = run("predict", inputs, tmp_path / "out", "--weights", tiny_weights)
    assert code == 0
    assert f"{inputs}: 2 image file(s) in folders inside it are not read" in stderr


def test_info_names_its_argument_where_it_holds_no_model(tmp_path: Path) -> None:
    code, _, stderr = run("info", tmp_path)
    assert (code, stderr.count("\n")) == (2, 1)
    assert f"{tmp_path} (from the argument WEIGHTS): no model.json here" in stderr
    assert "--weights" not in stderr


def test_info_says_what_a_model_is(tiny_weights: Path) -> None:
    code, stdout, _ = run("info", tiny_weights)
    assert code == 0
    assert "8 x 16 x 16" in stdout
    assert "inferior vena cava" in stdout
    assert "use                research; not a medical device, not for any decision about a patient\n" in stdout
    assert "license            not stated; ask whoever trained it\n" in stdout
    assert "training cases     not stated\n" in stdout


def test_info_counts_real_and_painted_cases_apart_and_says_the_license(tiny_weights: Path) -> None:
    counts = {"1": 5, "2": 3, "3": 0}
    painted = {"cases": ["p1", "p2"], "annotated_cases": {"1": 2, "2": 2, "3": 0}}
    stated = {"cases": ["a", "b", "c", "p1", "p2"], "annotated_cases": counts, "painted": painted}
    start = {"name": "first", "training": {"cases": ["x", "y"]}}
    training = {**stated, "pseudo_labeled": {"c": [1]}, "started_from": start}
    spec = tiny_spec(labels=("background", "liver", "spleen", "tumor"), untrained=(3,), training=training)
    save_model(tiny_weights, spec, UNet(spec.network, spec.classes))
    card = "# tiny\n\n**Licence of the weights: non-commercial research only**, with credit.\n"
    (tiny_weights / "MODEL_CARD.md").write_text(card)
    (tiny_weights.parent / "LICENSE").write_text("the text")
    code, stdout, _ = run("info", tiny_weights)
    assert code == 0
    text = tiny_weights.parent / "LICENSE"
    assert f"license            non-commercial research only, with credit. ({text})\n" in stdout
    assert "training cases     3 real (1 of them labeled by a model), 2 painted\n" in stdout
    assert "began with         first: 2 (not stated which of them are painted)\n" in stdout
    rows = [line.replace("┃", "│").split("│") for line in stdout.splitlines() if "│" in line]
    cells = {row[2].strip(): [cell.strip() for cell in row[3:5]] for row in rows}
    assert cells == {
        "liver": ["3", "2"],
        "spleen": ["1", "2"],
        "tumor": ["untrained: never predicted", "0"],
    }


def test_info_of_the_weights_that_came_along() -> None:
    """By name; the counts of real cases are those of the model card."""
    code, stdout, stderr = run("info", "lite")
    assert (code, stderr) == (0, "")
    assert "not a medical device" in stdout
    assert "license            non-commercial research only, with credit" in stdout
    assert "21 real (5 of them labeled by a model), 15 painted" in stdout
    rows = [line.split("│") for line in stdout.splitlines() if "│" in line]
    real = {row[2].strip(): int(row[3]) for row in rows}
    assert real["liver"] == 12
    assert real["right adrenal gland"] == 2
    assert real["tumor"] == 6


@pytest.mark.parametrize("app", [app, eval_app, train_app], ids=["flare-infer", "flare-eval", "flare-train"])
def test_every_command_says_its_version_and_helps_with_h(app: typer.Typer) -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.stdout.split()[-1]) == (0, __version__)
    for arguments in ([], [next(iter(app.registered_commands)).callback.__name__]):  # type: ignore[union-attr]
        short, long = (CliRunner().invoke(app, [*arguments, name]) for name in ("-h", "--help"))
        assert (short.exit_code, short.stdout) == (0, long.stdout)
        assert "Usage: " in short.stdout
    assert str(app.info.help) in CliRunner().invoke(app, ["-h"]).stdout


@pytest.mark.parametrize("package", ["flare_infer", "flare_eval", "train"])
def test_every_package_can_be_run(package: str) -> None:
    said = subprocess.run([sys.executable, "-m", package, "--version"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout.split()[-1], said.stderr) == (0, __version__, "")
