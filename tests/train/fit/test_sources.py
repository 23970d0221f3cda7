"""A run knows what it learned from: it goes on with nothing else, and nothing else is exported under its name."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flare_infer.errors import DatasetError
from flare_infer.files.record import plain_fields, record_from_fields
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.model.model_file import read_model_file
from flare_infer.volume.volume import Volume
from tests.dataset import add_case, make_dataset
from tests.train.commands.test_app import run
from train.commands.app import app
from train.fit.checkpoint import load_checkpoint, save_checkpoint
from train.fit.sources import TrainingSources, annotated_sets, continued_sources, provenance

SMOKE = ("--recipe", "smoke")
CPU = ("--device", "cpu")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    dataset = make_dataset(tmp_path, {"a": (1, 14), "b": (1, 2), "c": (1, 2)})
    (dataset / "splits.json").write_text('{"validation": ["c"]}')
    return dataset


def begun(dataset: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A store, and a run on it that stands after its first step of two."""
    store, trained = tmp_path / "store", tmp_path / "run"
    assert run(app, "prepare", dataset, store, *SMOKE, "--normalization", "recipe")[0] == 0
    assert run(app, "fit", store, trained, *SMOKE, *CPU)[0] == 0
    checkpoint = load_checkpoint(trained)
    assert checkpoint is not None
    save_checkpoint(trained, replace(checkpoint, step=1))
    return store, trained


def prepare_as(dataset: Path, store: Path, validation: str) -> None:
    (dataset / "splits.json").write_text(json.dumps({"validation": [validation]}))
    assert run(app, "prepare", dataset, store, *SMOKE)[0] == 0


def test_another_split_is_refused_by_name(dataset: Path, tmp_path: Path) -> None:
    store, trained = begun(dataset, tmp_path)
    before = (trained / "checkpoint.pt").read_bytes()
    prepare_as(dataset, store, "a")
    code, _, stderr = run(app, "fit", store, trained, *SMOKE, *CPU)
    assert code == 2
    assert "a trained and validates now; c validated and trains now" in stderr
    assert "--changed-cases" in stderr
    assert (trained / "checkpoint.pt").read_bytes() == before
    prepare_as(dataset, store, "c")
    assert run(app, "fit", store, trained, *SMOKE, *CPU)[0] == 0, "prepared again from the same, it is the same"


def test_other_voxels_and_other_cases_are_refused(dataset: Path, tmp_path: Path) -> None:
    store, trained = begun(dataset, tmp_path)
    path = dataset / "labelsTr" / "b.nii.gz"
    volume = read_volume(path)
    array = volume.array_zyx.copy()
    array[array == 2] = 1
    write_volume(path, Volume(array_zyx=array, placement=volume.placement))
    add_case(dataset, "d", (1, 14), seed=9)
    assert run(app, "prepare", dataset, store, *SMOKE)[0] == 0
    code, _, stderr = run(app, "fit", store, trained, *SMOKE, *CPU)
    assert code == 2
    assert "d is new; b has other voxels" in stderr


def test_a_change_on_purpose_is_recorded_and_exported(dataset: Path, tmp_path: Path) -> None:
    store, trained = begun(dataset, tmp_path)
    prepare_as(dataset, store, "a")
    assert run(app, "fit", store, trained, *SMOKE, *CPU, "--changed-cases")[0] == 0
    checkpoint = load_checkpoint(trained)
    assert checkpoint is not None
    assert [sorted(sources["training"]) for sources in checkpoint.sources] == [["a", "b"], ["b", "c"]]
    assert run(app, "export", trained, store, tmp_path / "weights", "--checkpoint", "last")[0] == 0
    training = read_model_file(tmp_path / "weights").spec.training
    assert training["cases"] == ["a", "b", "c"]
    assert training["cases_changed_at"] == [1]
    assert training["trained_and_validated"] == ["a", "c"]
    assert (training["annotated_cases"]["1"], training["annotated_cases"]["14"]) == (3, 1)
    card = (tmp_path / "weights" / "MODEL_CARD.md").read_text()
    assert (
        "on 3 cases: a, b, c. The cases were changed after step 1; all of them are named. Validation scores are" in card
    )
    assert "too good: a, c trained as well as validated." in card
    assert run(app, "fit", store, trained, *SMOKE, *CPU)[0] == 0, "from now on these are its cases"


def test_the_best_network_is_looked_for_anew_among_other_cases(dataset: Path, tmp_path: Path) -> None:
    store, trained = begun(dataset, tmp_path)
    checkpoint = load_checkpoint(trained)
    assert checkpoint is not None
    standing = {"step": 1, "mean": 0.9, "best": 0.9, "best_step": 1}
    save_checkpoint(trained, replace(checkpoint, standing=standing))
    prepare_as(dataset, store, "a")
    assert run(app, "fit", store, trained, *SMOKE, *CPU, "--changed-cases")[0] == 0
    after = load_checkpoint(trained)
    assert after is not None
    standing = after.standing
    assert standing["best_step"] == 2, "a score of other cases is nothing to beat"
    assert standing["best"] == standing["mean"] < 0.5


def test_export_takes_the_store_of_the_run_alone(dataset: Path, tmp_path: Path) -> None:
    _, trained = begun(dataset, tmp_path)
    foreign = make_dataset(tmp_path / "foreign", {"never": (1, 2), "b": (1, 2)})
    assert run(app, "prepare", foreign, tmp_path / "other", *SMOKE, "--normalization", "recipe")[0] == 0
    code, _, stderr = run(app, "export", trained, tmp_path / "other", tmp_path / "weights")
    assert code == 2
    assert "not what" in stderr
    assert "a trained and is gone; never is new; c validated and is gone" in stderr
    assert not (tmp_path / "weights").exists()


def test_tumors_that_were_pasted_are_part_of_it(dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "cutmix.toml"
    config.write_text("cutmix = true\n")
    chosen = (*SMOKE, "--config", config)
    objects, more = tmp_path / "objects", tmp_path / "more"
    elsewhere = make_dataset(tmp_path / "elsewhere", {"donor": (1, 14)})
    store, trained = tmp_path / "store", tmp_path / "run"
    assert run(app, "prepare", dataset, store, *chosen, "--normalization", "recipe")[0] == 0
    assert run(app, "objects", elsewhere, objects, *chosen)[0] == 0
    assert run(app, "objects", dataset, more, *chosen)[0] == 0
    assert run(app, "fit", store, trained, *chosen, *CPU, "--objects", objects)[0] == 0
    code, _, stderr = run(app, "fit", store, trained, *chosen, *CPU, "--objects", more)
    assert code == 2
    assert "other tumor objects of a, donor" in stderr
    assert run(app, "export", trained, store, tmp_path / "weights")[0] == 0
    assert read_model_file(tmp_path / "weights").spec.training["object_cases"] == ["donor"]
    assert "Tumors to paste came from donor, too." in (tmp_path / "weights" / "MODEL_CARD.md").read_text()


def sources(**training: tuple[int, ...]) -> TrainingSources:
    return TrainingSources(training=dict.fromkeys(training, "hash"), annotated=training)


def test_a_run_of_an_earlier_version_takes_what_it_goes_on_with(tmp_path: Path) -> None:
    now = sources(a=(1,))
    assert continued_sources(tmp_path, 7, (), now) == (replace(now, since=7),)
    assert continued_sources(tmp_path, 0, (sources(b=(1,)),), now) == (now,), (
        "before the first step nothing was learned"
    )
    with pytest.raises(DatasetError, match="b trained and is gone; a is new"):
        continued_sources(tmp_path, 7, (sources(b=(1,)),), now)
    assert provenance(continued_sources(tmp_path, 7, (), now))["not_recorded_before"] == 7
    assert "not_recorded_before" not in provenance((now,))
    with pytest.raises(DatasetError, match="a annotates other classes"):
        continued_sources(tmp_path, 7, (now,), sources(a=(1, 2)))


def test_what_was_learned_from_is_a_union() -> None:
    known = (sources(a=(1,), b=(2,)), replace(sources(b=(2, 14), c=(3,)), since=40, unlabeled=("c",)))
    assert annotated_sets(known) == [(1,), (2, 14), (3,)]
    said = provenance(known)
    assert (said["cases"], said["unlabeled_cases"], said["cases_changed_at"]) == (["a", "b", "c"], ["c"], [40])
    assert [said["annotated_cases"][str(code)] for code in (1, 2, 3, 4, 14)] == [1, 1, 1, 0, 1]
    assert [record_from_fields(TrainingSources, plain_fields(item)) for item in known] == list(known)


def test_a_store_of_another_recipe_is_kept(dataset: Path, tmp_path: Path) -> None:
    store, config = tmp_path / "store", tmp_path / "mine.toml"
    config.write_text("cleaning = true\n[spec.normalization]\nmean_hu = 10.0\n")
    assert run(app, "prepare", dataset, store, *SMOKE, "--normalization", "recipe")[0] == 0
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    code, _, stderr = run(app, "prepare", dataset, store, *SMOKE, "--config", config)
    assert code == 2
    assert "cases of another recipe (cleaning: null, now " in stderr
    assert "normalization.mean_hu: 50.0, now 10.0" in stderr
    assert {path: path.read_bytes() for path in before} == before
    (store / "store.json").unlink()  # killed before it was finished
    code, _, stderr = run(app, "prepare", dataset, store, *SMOKE, "--config", config)
    assert code == 2
    assert "normalization.mean_hu: 50.0, now 10.0" in stderr
    assert run(app, "prepare", dataset, store, *SMOKE, "--config", config, "--replace")[0] == 0
    assert json.loads((store / "store.json").read_text())["grid"]["normalization"]["mean_hu"] == 10.0


def test_objects_of_another_recipe_are_kept(dataset: Path, tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    assert run(app, "objects", dataset, objects, *SMOKE)[0] == 0
    before = {path: path.read_bytes() for path in objects.rglob("*.npy")}
    code, _, stderr = run(app, "objects", dataset, objects, *SMOKE, "--margin-grid", "coarse")
    assert code == 2
    assert 'objects of another recipe (margins.grid: "native", now "coarse")' in stderr
    assert {path: path.read_bytes() for path in objects.rglob("*.npy")} == before
    assert run(app, "objects", dataset, objects, *SMOKE, "--margin-grid", "coarse", "--replace")[0] == 0


def test_another_recipe_is_named_field_by_field(dataset: Path, tmp_path: Path) -> None:
    store, trained = begun(dataset, tmp_path)
    config = tmp_path / "mine.toml"
    config.write_text("[sampling]\nbalance = 0.25\n[optimization]\nlearning_rate = 0.5\n")
    code, _, stderr = run(app, "fit", store, trained, *SMOKE, *CPU, "--config", config, "--steps", 9)
    assert code == 2
    before = (trained / "checkpoint.pt").read_bytes()
    changed = (*SMOKE, *CPU, "--config", config, "--changed-cases")
    prepare_as(dataset, store, "a")
    assert run(app, "fit", store, trained, *changed)[0] == 2
    assert (trained / "checkpoint.pt").read_bytes() == before, "a run that is refused is left alone"
    assert "optimization.learning_rate: 0.001, now 0.5; sampling.balance: 1.0, now 0.25; steps: 2, now 9)" in stderr
    assert "`flare-train export` it, then `flare-train fit` into another folder with --start" in stderr
