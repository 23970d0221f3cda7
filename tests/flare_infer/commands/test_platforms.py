"""The commands that mercure and grand-challenge.org start in a container."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from typer.testing import CliRunner

from flare_infer.commands.grand_challenge import app
from flare_infer.commands.mercure import SETTINGS, predict_arguments
from flare_infer.errors import UsageError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.volume.volume import Volume, same_placement
from tests.dicom.series import PATIENT, ROOT, Made, write

CHECKOUT = Path(__file__).resolve().parents[3]


def started(module: str, *arguments: object, **environment: object) -> subprocess.CompletedProcess[str]:
    """A module, started as a container starts it."""
    return subprocess.run(
        [sys.executable, "-m", f"flare_infer.commands.{module}", *map(str, arguments)],
        cwd=CHECKOUT,
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """What mercure mounts: one study of two series, with its files of tags, and an empty folder."""
    given, made = tmp_path / "in", tmp_path / "out"
    for number in ("1", "2"):
        write(given, Made(uid=ROOT + number))
    (given / "a.tags").write_text("{}")
    made.mkdir()
    return {"MERCURE_IN_DIR": given, "MERCURE_OUT_DIR": made}


def ask(folders: dict[str, Path], process: object) -> dict[str, str]:
    (folders["MERCURE_IN_DIR"] / "task.json").write_text(json.dumps({"id": "task", "process": process}))
    return {name: str(path) for name, path in folders.items()}


def test_mercure_gets_the_results_of_a_study(folders: dict[str, Path], tiny_weights: Path) -> None:
    settings = {"weights": str(tiny_weights), "device": "cpu", "to": "nifti", "report": False}
    ask(folders, {"module_name": "flare", "settings": settings})
    before = sorted(path.name for path in folders["MERCURE_IN_DIR"].iterdir())
    result = started("mercure", **folders)
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(path.name for path in folders["MERCURE_IN_DIR"].iterdir()) == before
    maps = sorted(path.name for path in folders["MERCURE_OUT_DIR"].glob("*.nii.gz"))
    assert len(maps) == 2
    assert read_volume(folders["MERCURE_OUT_DIR"] / maps[0]).shape == Made().array_zyx.shape
    said = result.stdout + "".join(path.name for path in folders["MERCURE_OUT_DIR"].iterdir())
    assert not [word for word in PATIENT if word in said]


def test_mercure_gets_a_segmentation_and_a_page_unless_it_asks_for_something_else(
    folders: dict[str, Path], tiny_weights: Path
) -> None:
    ask(folders, {"settings": {"weights": str(tiny_weights), "device": "cpu"}})
    result = started("mercure", **folders)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(list(folders["MERCURE_OUT_DIR"].glob("*.seg.dcm"))) == 2
    assert len(list(folders["MERCURE_OUT_DIR"].glob("*.report.html"))) == 2


def test_mercure_is_told_by_the_exit_code_that_a_study_holds_no_ct(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    result = started("mercure", MERCURE_IN_DIR=tmp_path / "in", MERCURE_OUT_DIR=tmp_path / "out")
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)


def test_settings_of_a_module_become_options(folders: dict[str, Path]) -> None:
    asked = {"series": "largest", "fill_gaps": True, "ram_budget": 4000}
    made = predict_arguments(ask(folders, {"settings": asked}))
    assert made[:3] == ["predict", *(str(path) for path in folders.values())]
    assert {"--series=largest", "--fill-gaps", "--ram-budget=4000", "--to=dicom-seg", "--report"} <= set(made)
    off = predict_arguments(ask(folders, {"settings": {"fill_gaps": False, "report": False, "to": "rtstruct"}}))
    assert off[3:] == ["--to=rtstruct"]


def test_every_setting_is_an_option_of_predict() -> None:
    known = CliRunner().invoke(_predict(), ["predict", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).stdout
    assert [name for name in SETTINGS if f"--{name.replace('_', '-')}" not in known] == []


def _predict():  # type: ignore[no-untyped-def]
    from flare_infer.commands.app import app as predict_app

    return predict_app


@pytest.mark.parametrize(
    ("process", "reason"),
    [
        ({"settings": {"wieghts": "lite"}}, "unknown setting wieghts; expected one of to, organs, weights"),
        ({"settings": {"device": 0}}, "device: expected str, found 0"),
        ({"settings": {"gpu_budget": True}}, "gpu_budget: expected int, found True"),
        ({"settings": ["lite"]}, "expected one step with settings, found list"),
        ([{"settings": {}}], "expected one step with settings, found list"),
    ],
)
def test_what_a_module_cannot_be_set_to_is_refused(folders: dict[str, Path], process: object, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        predict_arguments(ask(folders, process))


def test_without_its_variables_mercure_did_not_start_it() -> None:
    with pytest.raises(UsageError, match="MERCURE_IN_DIR and MERCURE_OUT_DIR not set"):
        predict_arguments({})


@pytest.fixture
def job(tmp_path: Path, scan: Volume) -> Path:
    """What grand-challenge mounts: one scan of one socket."""
    (tmp_path / "input" / "images" / "ct-image").mkdir(parents=True)
    write_volume(tmp_path / "input" / "images" / "ct-image" / "6d1f.mha", scan)
    return tmp_path


def run(job: Path, *arguments: object) -> tuple[int, str]:
    folders = ["--inputs", job / "input", "--outputs", job / "output"]
    result = CliRunner().invoke(app, [str(part) for part in (*arguments, *folders)])
    return result.exit_code, result.stderr


def written(job: Path) -> list[str]:
    return sorted(path.relative_to(job).as_posix() for path in (job / "output").rglob("*") if path.is_file())


def test_grand_challenge_gets_one_label_map_and_results(job: Path, tiny_weights: Path, scan: Volume) -> None:
    folders = ["--inputs", job / "input", "--outputs", job / "output"]
    result = started("grand_challenge", "organs", "--weights", tiny_weights, "--device", "cpu", *folders)
    assert (result.returncode, result.stderr) == (0, "")
    assert written(job) == ["output/images/organs/6d1f.mha", "output/results.json"]
    found = read_volume(job / "output/images/organs/6d1f.mha")
    assert found.shape == scan.shape
    assert same_placement(found.placement, scan.placement)
    assert sitk.ReadImage(str(job / "output/images/organs/6d1f.mha")).GetPixelID() == sitk.sitkUInt8
    (entry,) = json.loads((job / "output" / "results.json").read_text())
    assert entry["outputs"] == [{"type": "metaio_image", "filename": "6d1f.mha"}]
    assert entry["error_messages"] == []


def test_a_scan_that_cannot_be_segmented_fails_the_job(job: Path, tiny_weights: Path, scan: Volume) -> None:
    image = job / "input" / "images" / "ct-image" / "6d1f.mha"
    image.write_bytes(image.read_bytes()[:200])
    code, _ = run(job, "organs", "--weights", tiny_weights, "--device", "cpu")
    assert code == 1
    assert written(job) == []


def test_several_scans_need_the_name_of_their_socket(job: Path, tiny_weights: Path, scan: Volume) -> None:
    other = job / "input" / "images" / "pet"
    other.mkdir()
    write_volume(other / "9a.mha", Volume(array_zyx=np.zeros_like(scan.array_zyx), placement=scan.placement))
    code, stderr = run(job, "organs", "--weights", tiny_weights)
    assert (code, "found 2: images/ct-image/6d1f.mha, images/pet/9a.mha; name its folder with --socket" in stderr) == (
        2,
        True,
    )
    assert run(job, "organs", "--socket", "ct-image", "--weights", tiny_weights, "--device", "cpu")[0] == 0
    assert run(job, "../organs", "--socket", "ct-image")[0] == 2
