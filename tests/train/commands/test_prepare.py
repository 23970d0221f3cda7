"""What is said of a dataset before it is trained on, whose numbers normalize it, and where nothing is written."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.runs.outputs_lock import OUTPUTS_LOCK_FILE, outputs_locked
from tests.dataset import make_dataset
from tests.train.commands.test_app import run
from train.commands.app import app
from train.protocol.config import Model
from train.protocol.model_stages import usual_normalization
from train.recipes.recipe import smoke
from train.store.store import read_grid, read_names

SMOKE = ("--recipe", "smoke")
RECIPE = vars(smoke().spec.normalization)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path, {"a": (1, 2, 14), "b": (1, 14)})


def test_a_lost_offset_is_said_by_scan_prepare_and_fit(dataset: Path, tmp_path: Path) -> None:
    image = dataset / "imagesTr" / "a_0000.nii.gz"
    volume = read_volume(image)
    write_volume(image, replace(volume, array_zyx=volume.array_zyx + 1024))
    store = tmp_path / "store"
    fit = ("fit", store, tmp_path / "run", *SMOKE, "--steps", 1, "--device", "cpu")
    prepare = ("prepare", dataset, store, *SMOKE)
    for command in (("scan", dataset), prepare, prepare, fit):  # the second time nothing is prepared
        code, stdout, stderr = run(app, *command)
        assert code == 0, stderr
        (notice,) = (line for line in stdout.splitlines() if line.startswith("notice: "))
        assert notice.startswith("notice: a: as if these were no Hounsfield units: ")
        assert notice.endswith("; subtract 1024 and prepare again")
    write_volume(image, volume)
    assert "notice" not in run(app, *prepare)[1]


def test_a_second_fit_in_one_folder_is_refused(dataset: Path, tmp_path: Path) -> None:
    store, trained = tmp_path / "store", tmp_path / "run"
    assert run(app, "prepare", dataset, store, *SMOKE)[0] == 0
    fit = ("fit", store, trained, *SMOKE, "--steps", 1, "--device", "cpu")
    trained.mkdir()
    with outputs_locked(trained, print):
        code, _, stderr = run(app, *fit)
        assert code == 2
        assert "another run writes here (process " in stderr
        assert [path.name for path in trained.iterdir()] == [OUTPUTS_LOCK_FILE]
    assert run(app, *fit)[0] == 0
    assert not (trained / OUTPUTS_LOCK_FILE).exists()


def test_nothing_is_written_into_what_is_read(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(dataset)
    config = tmp_path / "p.toml"
    config.write_text('run = "link/new"\ndata = { dataset = "dataset" }\n')
    assembled = (
        ("--painted", dataset),
        ("--unlabeled", dataset, "--labels", tmp_path / "maps"),
        ("--unlabeled", tmp_path / "scans", "--labels", dataset),
    )
    table = ("uncertainty", dataset / "new", *("--organs", dataset) * 2, *("--tumor", dataset) * 2)
    for command in (
        *((name, dataset, tmp_path / "link" / "new") for name in ("prepare", "clean", "merge", "gather", "objects")),
        ("paint", dataset / "new", "--maps", dataset),
        ("assemble", dataset, dataset / "new"),
        *(("assemble", tmp_path / "experts", dataset / "new", *given) for given in assembled),
        ("pipeline", config),
        table,
    ):
        code, _, stderr = run(app, *command)
        assert code == 2, command
        assert "new: lies in " in stderr, command
        assert not (dataset / "new").exists()


def test_fit_and_export_write_nothing_into_what_they_read(dataset: Path, tmp_path: Path) -> None:
    store, objects, trained = (tmp_path / name for name in ("store", "objects", "run"))
    objects.mkdir()
    (tmp_path / "link").symlink_to(store)
    assert run(app, "prepare", dataset, store, *SMOKE)[0] == 0
    few = (*SMOKE, "--steps", 1, "--device", "cpu")
    assert run(app, "fit", store, trained, *few)[0] == 0
    for command in (
        ("fit", store, tmp_path / "link" / "new", *few),
        ("fit", store, objects / "new", "--objects", objects, *few),
        ("export", trained, store, tmp_path / "link" / "new"),
        ("export", trained, store, tmp_path / "weights", "--nnunet", store / "new"),
    ):
        code, _, stderr = run(app, *command)
        assert code == 2, command
        assert "new: lies in " in stderr, command
        assert not any((folder / "new").exists() for folder in (store, objects)), command
    assert not (tmp_path / "weights").exists()


def test_the_first_fold_of_nnunet_validates(dataset: Path, tmp_path: Path) -> None:
    (dataset / "splits_final.json").write_text('[{"train": ["a"], "val": ["b"]}]')
    for command in (("scan", dataset), ("prepare", dataset, tmp_path / "store", *SMOKE)):
        code, stdout, _ = run(app, *command)
        assert code == 0
        assert f'notice: {dataset / "splits_final.json"}: the cases of "val" in fold 0 validate; ' in stdout
    assert read_names(tmp_path / "store", "validation") == ["b"]
    (dataset / "splits.json").write_text('{"fold": 1}')
    code, _, stderr = run(app, "prepare", dataset, tmp_path / "store", *SMOKE)
    assert code == 2
    assert 'expected a list of folds with "val" each, 1 among them' in stderr
    (dataset / "splits.json").write_text('{"validation": ["a"]}')
    assert "fold" not in run(app, "scan", dataset)[1]


def test_a_dataset_is_normalized_by_its_own_numbers(dataset: Path, tmp_path: Path) -> None:
    found = {}
    for name, options in (("usual", ()), ("dataset", ("--normalization", "dataset"))):
        code, stdout, _ = run(app, "prepare", dataset, tmp_path / name, *SMOKE, *options)
        assert code == 0
        assert "foreground of the training set: Normalization(" in stdout
        found[name] = read_grid(tmp_path / name)["normalization"]
    assert found["usual"] == found["dataset"] != RECIPE
    (dataset / "annotated.json").write_text('{"default": [1, 2, 14]}')
    assert run(app, "prepare", dataset, tmp_path / "usual", *SMOKE)[0] == 0, "the numbers of what is there"


def test_stated_numbers_and_those_of_a_store_from_before_stay(dataset: Path, tmp_path: Path) -> None:
    store, stated = tmp_path / "store", tmp_path / "stated"
    assert run(app, "prepare", dataset, store, *SMOKE, "--normalization", "recipe")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in store.glob("*/seal.json")}
    for _ in range(2):
        code, stdout, _ = run(app, "prepare", dataset, store, *SMOKE)
        assert code == 0
        assert "foreground" not in stdout
        assert read_grid(store)["normalization"] == RECIPE
        assert {path: path.stat().st_mtime_ns for path in before} == before
        (store / "store.json").unlink()  # the second time as if it had been killed
    config = tmp_path / "mine.toml"
    config.write_text("spec = { normalization = { mean_hu = 10.0 } }\n")
    assert run(app, "prepare", dataset, stated, *SMOKE, "--config", config)[0] == 0
    assert read_grid(stated)["normalization"] == RECIPE | {"mean_hu": 10.0}

    model, recipe = Model(recipe="smoke"), smoke()
    assert usual_normalization(model, recipe, store) == "recipe", "a pipeline goes on with what it began with"
    assert usual_normalization(model, recipe, tmp_path / "new") == "dataset"
    other = replace(recipe, spec=replace(recipe.spec, normalization=replace(recipe.spec.normalization, mean_hu=10.0)))
    assert usual_normalization(model, other, tmp_path / "new") == "recipe"
    assert usual_normalization(replace(model, normalization="recipe"), recipe, tmp_path / "new") == "recipe"


def test_without_labels_of_experts_there_is_nothing_to_measure(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1, 2)})
    (dataset / "unlabeled.json").write_text(json.dumps({"unlabeled": ["a"]}))
    code, _, stderr = run(app, "prepare", dataset, tmp_path / "store", *SMOKE)
    assert code == 2
    assert "take --normalization recipe" in stderr
    assert run(app, "prepare", dataset, tmp_path / "store", *SMOKE, "--normalization", "recipe")[0] == 0
