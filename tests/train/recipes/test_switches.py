"""The switches `cleaning` and `unlabeled`: on changes what is trained on, off is what was done before."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_infer.errors import DatasetError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.labels import ORGANS, TUMOR
from flare_infer.volume.volume import Volume
from tests.dataset import SPACING_MM, make_dataset
from tests.train.commands.test_app import run
from train.commands.app import app as train_app
from train.dataset.cases import Case, read_cases
from train.dataset.clean import CleaningRules
from train.dataset.clean_dataset import clean_dataset
from train.fit.loop import fit
from train.fit.matching_store import recipe_for_store, recipe_key
from train.problems import ProblemsError
from train.recipes.recipe import TrainingRecipe, smoke
from train.store.extract_tumors import Margins, extract_objects, tumor_cases
from train.store.normalization import foreground_normalization
from train.store.prepare import case_key, prepare_case, prepare_cases
from train.store.store import read_grid, read_store, read_unlabeled_names
from train.store.tumor_objects import read_objects

CPU = torch.device("cpu")
RULES = CleaningRules(smallest_voxels=4)
SPEC = replace(smoke().spec, spacing_mm=SPACING_MM)
"""A grid on which a speck of three voxels is three voxels."""

PLAIN = replace(smoke(), spec=SPEC)
CLEANED = replace(PLAIN, cleaning=True, cleaning_rules=RULES)
MARGINS = Margins(least=(1, 1, 1), most=(1, 1, 1))


def add_speck(dataset: Path, name: str) -> None:
    """Three voxels of tumor in a corner of the volume."""
    path = dataset / "labelsTr" / f"{name}.nii.gz"
    volume = read_volume(path)
    array = volume.array_zyx.copy()
    array[0, 0, 0:3] = TUMOR
    write_volume(path, Volume(array_zyx=array, placement=volume.placement))


def specks(labels_zyx: object) -> int:
    return int(np.count_nonzero(np.asarray(labels_zyx)[0, 0, 0:3] == TUMOR))


@pytest.fixture
def specked(tmp_path: Path) -> Path:
    """A speck each in a, where all organs are known, in b, where they are not, and in v, which validates."""
    dataset = make_dataset(tmp_path, {"a": (*ORGANS, TUMOR), "b": (1, TUMOR), "v": (1, TUMOR)})
    for name in "abv":
        add_speck(dataset, name)
    (dataset / "splits.json").write_text('{"validation": ["v"]}')
    return dataset


def prepare(cases: Sequence[Case], recipe: TrainingRecipe, store: Path) -> Path:
    prepare_cases(cases, recipe.spec, store, cleaning=recipe.label_cleaning, replacing=True)
    return store


def stamps(store: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in store.glob("*/seal.json")}


def test_cleaning_prepares_what_a_cleaned_dataset_would(specked: Path, tmp_path: Path) -> None:
    cases = read_cases(specked)
    clean_dataset(cases, tmp_path / "clean", RULES)
    of_clean = prepare(read_cases(tmp_path / "clean"), PLAIN, tmp_path / "of_clean")
    cleaned = prepare(cases, CLEANED, tmp_path / "cleaned")
    plain = prepare(cases, PLAIN, tmp_path / "plain")
    for one, other, dirty in zip(read_store(of_clean), read_store(cleaned), read_store(plain), strict=True):
        np.testing.assert_array_equal(np.asarray(one.labels_zyx), np.asarray(other.labels_zyx))
        np.testing.assert_array_equal(np.asarray(one.image_zyx), np.asarray(other.image_zyx))
        assert (specks(other.labels_zyx), specks(dirty.labels_zyx)) == (0, 3)
        assert len(other.locations[TUMOR]) == len(dirty.locations[TUMOR]) - 3
    (held_out,) = read_store(cleaned, "validation")
    assert specks(held_out.labels_zyx) == 3, "what models are measured by stays as it is"


def test_the_switch_prepares_anew_what_it_changes(specked: Path, tmp_path: Path) -> None:
    cases, store = read_cases(specked), tmp_path / "store"
    before = stamps(prepare(cases, PLAIN, store))
    assert stamps(prepare(cases, PLAIN, store)) == before
    after = stamps(prepare(cases, CLEANED, store))
    assert {name for name in before if after[name] != before[name]} == {"a", "b"}
    assert stamps(prepare(cases, CLEANED, store)) == after
    other = replace(CLEANED, cleaning_rules=CleaningRules(smallest_voxels=5))
    assert {name for name, stamp in stamps(prepare(cases, other, store)).items() if stamp != after[name]} == {"a", "b"}


def test_off_asks_for_what_earlier_versions_prepared(specked: Path, tmp_path: Path) -> None:
    """Their keys knew nothing of cleaning, and neither did store.json."""
    cases = read_cases(specked)
    assert "cleaning" not in case_key(cases[0], SPEC)
    store = prepare(cases, PLAIN, tmp_path / "store")
    path = store / "store.json"
    content = json.loads(path.read_text())
    del content["grid"]["cleaning"], content["unlabeled"]
    path.write_text(json.dumps(content))
    assert recipe_for_store(store, PLAIN) == PLAIN
    with pytest.raises(DatasetError, match=r"cleaning is none, the recipe's \{'smallest_voxels': 4"):
        recipe_for_store(store, CLEANED)
    assert read_unlabeled_names(store) == []
    assert [case.name for case in read_store(store, with_unlabeled=PLAIN.unlabeled)] == ["a", "b"]


def test_cleaned_and_other_cases_are_not_mixed(specked: Path, tmp_path: Path) -> None:
    cases = read_cases(specked)
    store = prepare(cases, CLEANED, tmp_path / "store")
    assert recipe_for_store(store, CLEANED) == CLEANED
    with pytest.raises(DatasetError, match=r"cleaning is .*the recipe's none; prepare it again"):
        recipe_for_store(store, PLAIN)
    for recipe, count in ((PLAIN, 4), (CLEANED, 2)):
        folder = tmp_path / "objects"
        extract_objects(cases, SPEC, MARGINS, folder, cleaning=recipe.label_cleaning)
        assert len(read_objects(folder, ["v"], recipe_key(recipe))) == count
        other = CLEANED if recipe is PLAIN else PLAIN
        with pytest.raises(DatasetError, match="another cleaning than the prepared cases; run `flare-train objects`"):
            read_objects(folder, ["v"], recipe_key(other))
    assert len(read_objects(folder, ["v"], read_grid(store))) == 2


def test_training_pastes_only_objects_that_were_cleaned_like_its_cases(specked: Path, tmp_path: Path) -> None:
    cases, objects = read_cases(specked), tmp_path / "objects"
    store = prepare(cases, CLEANED, tmp_path / "store")
    recipe = replace(CLEANED, cutmix=True, steps=1)
    extract_objects(cases, SPEC, MARGINS, objects)
    with pytest.raises(DatasetError, match="objects of a have another cleaning"):
        fit(recipe, store, tmp_path / "run", CPU, objects=objects)
    extract_objects(cases, SPEC, MARGINS, objects, cleaning=RULES)
    fit(recipe, store, tmp_path / "run", CPU, objects=objects)


def test_specks_do_not_enter_the_normalization(specked: Path) -> None:
    """In b the speck is air: -1000 HU."""
    cases = [case for case in read_cases(specked) if case.name == "b"]
    dirty, clean = foreground_normalization(cases), foreground_normalization(cases, cleaning=RULES)
    assert clean.mean_hu > dirty.mean_hu


def test_a_case_that_cleaning_empties_is_background(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (TUMOR,)})
    prepared = prepare_case(read_cases(dataset)[0], SPEC, CleaningRules(smallest_voxels=10**6))
    assert (prepared.annotated, dict(prepared.locations), prepared.region) == ((TUMOR,), {}, None)


@pytest.fixture
def pseudo(tmp_path: Path) -> Path:
    """Cases p and q have the labels of a model only."""
    dataset = make_dataset(tmp_path, {"a": (1, 2), "b": (1, TUMOR), "p": (1, 2, TUMOR), "q": (1, 2)})
    (dataset / "unlabeled.json").write_text('{"unlabeled": ["p", "q"]}')
    return dataset


def parameters_after(recipe: TrainingRecipe, store: Path, folder: Path) -> torch.Tensor:
    network = fit(recipe, store, folder, CPU)
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_unlabeled_cases_are_trained_on_only_if_the_recipe_says_so(pseudo: Path, tmp_path: Path) -> None:
    cases = read_cases(pseudo)
    assert [case.name for case in cases if case.unlabeled] == ["p", "q"]
    store = prepare(cases, PLAIN, tmp_path / "store")
    without = prepare([case for case in cases if not case.unlabeled], PLAIN, tmp_path / "without")
    on = replace(PLAIN, unlabeled=True, steps=3)
    off = replace(on, unlabeled=False)
    assert [(case.name, case.unlabeled) for case in read_store(store, with_unlabeled=on.unlabeled)] == [
        ("a", False),
        ("b", False),
        ("p", True),
        ("q", True),
    ]
    assert [case.name for case in read_store(store, with_unlabeled=off.unlabeled)] == ["a", "b"]
    before = parameters_after(off, without, tmp_path / "before")
    assert torch.equal(parameters_after(off, store, tmp_path / "off"), before)
    assert not torch.equal(parameters_after(on, store, tmp_path / "on"), before)


def test_pseudo_labels_give_neither_objects_nor_normalization(pseudo: Path) -> None:
    cases = read_cases(pseudo)
    assert [case.name for case in tumor_cases(cases)] == ["b"]
    experts = [case for case in cases if not case.unlabeled]
    assert foreground_normalization(cases) == foreground_normalization(experts)


def test_a_store_of_pseudo_labels_alone_needs_the_switch(pseudo: Path, tmp_path: Path) -> None:
    store = prepare([case for case in read_cases(pseudo) if case.unlabeled], PLAIN, tmp_path / "store")
    assert len(read_store(store)) == 2
    with pytest.raises(DatasetError, match="no prepared case that trains with labels of experts"):
        read_store(store, with_unlabeled=PLAIN.unlabeled)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"unlabeled": ["p", "p"]}', "case p is listed twice"),
        ('{"unlabeled": ["z"]}', "case z is not in the dataset"),
        ('{"unlabeled": ["b"]}', "case b validates, but its labels are pseudo labels"),
        ('{"unlabeled": "p"}', "expected a list of case names"),
        ("[]", "expected a JSON object"),
    ],
)
def test_what_unlabeled_json_may_not_say_is_named(pseudo: Path, text: str, says: str) -> None:
    (pseudo / "splits.json").write_text('{"validation": ["b"]}')
    (pseudo / "unlabeled.json").write_text(text)
    with pytest.raises(ProblemsError, match=says):
        read_cases(pseudo)


def test_the_commands_say_what_the_switches_did(specked: Path, tmp_path: Path) -> None:
    (specked / "unlabeled.json").write_text('{"unlabeled": ["b"]}')
    store, config = tmp_path / "store", tmp_path / "on.toml"
    config.write_text("cleaning = true\nunlabeled = true\n[cleaning_rules]\nsmallest_voxels = 4\n")
    options = ("--recipe", "smoke", "--config", config)
    code, stdout, _ = run(train_app, "prepare", specked, store, *options)
    assert code == 0
    assert f"3 cases prepared in {store}, 1 of them for validation, 1 with pseudo labels only" in stdout
    assert "labels of the cases that train were cleaned, those for validation were not" in stdout
    fit_on = ("fit", store, tmp_path / "run", *options, "--steps", 1, "--device", "cpu")
    code, stdout, _ = run(train_app, *fit_on)
    assert code == 0
    assert "2 cases train, 1 of them with pseudo labels only" in stdout
    config.write_text(config.read_text().replace("unlabeled = true", "unlabeled = false"))
    code, stdout, _ = run(train_app, "fit", store, tmp_path / "other", *fit_on[3:])
    assert "1 cases train; unlabeled = false leaves out 1 with pseudo labels only" in stdout
    code, _, stderr = run(train_app, "fit", store, tmp_path / "third", "--recipe", "smoke", "--device", "cpu")
    assert code == 2
    assert "prepared for another model: cleaning is {" in stderr


def test_a_cleaned_dataset_keeps_its_unlabeled_cases(specked: Path, tmp_path: Path) -> None:
    (specked / "unlabeled.json").write_text('{"unlabeled": ["b"]}')
    clean_dataset(read_cases(specked), tmp_path / "clean", RULES)
    assert [case.name for case in read_cases(tmp_path / "clean") if case.unlabeled] == ["b"]
    with (tmp_path / "clean" / "findings.csv").open(newline="") as file:
        assert {row["case"] for row in csv.DictReader(file)} == {"a", "b", "v"}
