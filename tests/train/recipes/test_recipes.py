"""Recipes, and what a TOML file may change in them."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from flare_infer.errors import FlareError, SpecError
from flare_infer.files.record import record_from_fields
from train.augment.spatial import draw_spatial
from train.config_file import overridden
from train.dataset.clean import CleaningRules
from train.recipes.choice import chosen_recipe
from train.recipes.recipe import TrainingRecipe, coarse, fine, lite, recipe_from_json, smoke

RECIPES = [coarse(), fine(), lite(), smoke()]


def with_toml(tmp_path: Path, text: str) -> TrainingRecipe:
    config = tmp_path / "config.toml"
    config.write_text(text)
    return chosen_recipe("lite", config=config)


def test_the_papers_recipes_differ_where_the_paper_says() -> None:
    assert (coarse().spec.spacing_mm, fine().spec.spacing_mm) == ((2.5, 1.5, 1.5), (2.5, 0.82, 0.82))
    assert (coarse().steps, fine().steps) == (300_000, 500_000)
    for switch in ("cutmix", "cleaning", "unlabeled"):
        assert (getattr(coarse(), switch), getattr(fine(), switch)) == (True, False)
    assert coarse().label_cleaning == CleaningRules(smallest_voxels=100)
    assert fine().label_cleaning is None
    assert coarse().sampling.organ_center_keep == 0.2
    assert coarse().sampling.type_sampling == fine().sampling.type_sampling == "proportional"
    assert coarse().spec.network == fine().spec.network
    for recipe in RECIPES:
        assert recipe.partial_loss == "merge_max"


def test_the_recipe_of_the_shipped_weights_is_what_it_was() -> None:
    recipe = lite()
    assert (recipe.cutmix, recipe.cleaning, recipe.unlabeled) == (False, False, False)
    assert recipe.sampling.type_sampling == "by_class"
    assert (recipe.sampling.balance, recipe.sampling.jitter, recipe.sampling.foreground) == (0.5, 0.25, 0.7)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.spec.name)
def test_a_recipe_is_read_back_from_its_json(recipe: TrainingRecipe) -> None:
    assert recipe_from_json(recipe.to_json()) == recipe


def test_a_run_begun_before_a_field_existed_has_its_default() -> None:
    old = json.loads(lite().to_json())
    for name in ("partial_loss", "cutmix", "cleaning", "unlabeled", "cleaning_rules"):
        del old[name]
    for name in ("type_sampling", "paired_after", "organ_center_keep"):
        del old["sampling"][name]
    assert recipe_from_json(json.dumps(old)) == lite()


def test_a_file_changes_fields_at_any_depth(tmp_path: Path) -> None:
    changed = with_toml(
        tmp_path,
        """
        steps = 7
        partial_loss = "marginal"
        class_weights = [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2.5]
        [sampling]
        type_sampling = "paired"
        [optimization]
        learning_rate = 1
        [augmentation.spatial]
        mirror_axes = [0]
        [cleaning_rules]
        far_mm = 30
        organs_needed = [1, 3]
        [spec]
        patch = [48, 48, 48]
        [spec.normalization]
        mean_hu = 40
        """,
    )
    before = lite()
    assert (changed.steps, changed.partial_loss, changed.sampling.type_sampling) == (7, "marginal", "paired")
    assert changed.class_weights == (1.0, *[2.0] * 13, 2.5)
    assert changed.optimization == dataclasses.replace(before.optimization, learning_rate=1.0)
    assert isinstance(changed.optimization.learning_rate, float)
    assert changed.augmentation.spatial == dataclasses.replace(before.augmentation.spatial, mirror_axes=(0,))
    assert changed.cleaning_rules == CleaningRules(far_mm=30.0, organs_needed=(1, 3))
    assert changed.label_cleaning is None
    assert changed.spec.patch == (48, 48, 48)
    assert changed.spec.normalization == dataclasses.replace(before.spec.normalization, mean_hu=40.0)
    assert changed.spec.network == before.spec.network
    assert (changed.batch, changed.sampling.balance) == (before.batch, 0.5)
    assert chosen_recipe("lite", steps=9, config=tmp_path / "config.toml").steps == 9


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("step = 3", "step: no such field; the nearest is steps"),
        ("[sampling]\nforegruond = 1", "sampling.foregruond: no such field; the nearest is foreground"),
        ("[augmentation.spatial]\nrotation_degree = 1", "augmentation.spatial.rotation_degree: no such field"),
        ("steps = 1.5", "steps: expected a whole number, found 1.5"),
        ("steps = true", "steps: expected a whole number, found True"),
        ('steps = "3"', "steps: expected a whole number, found '3'"),
        ("cutmix = 1", "cutmix: expected true or false, found 1"),
        ("sampling = 1", "sampling: expected a table of fields, found 1"),
        ("[sampling]\nforeground = true", "sampling.foreground: expected a number, found True"),
        ("[sampling]\nforeground = 2", "foreground in [0, 1]"),
        ('[sampling]\ntype_sampling = "pairs"', "one of by_class, proportional, paired, found 'pairs'"),
        ('partial_loss = "sum"', "partial_loss: expected one of merge_max, marginal, background, found 'sum'"),
        ("[spec]\npatch = [48, 80]", "spec.patch: expected a list of 3, found [48, 80]"),
        ("[spec]\npatch = [48, 80, 80.0]", "spec.patch[2]: expected a whole number, found 80.0"),
        ("[spec]\npatch = [48, 80, 81]", "must be a multiple of"),
        ("class_weights = [1.0]", "one class weight for each"),
        ("cleaning = 1", "cleaning: expected true or false, found 1"),
        ("[cleaning_rules]\nsmallest_voxels = -1", "smallest_voxels and far_mm of at least 0"),
        ("[cleaning_rules]\nsmalest_voxels = 1", "cleaning_rules.smalest_voxels: no such field"),
        ("steps = = 3", "not a readable TOML file"),
        ("seed = -1", "seed must be"),
    ],
)
def test_what_a_file_may_not_say_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(FlareError) as caught:
        with_toml(tmp_path, text)
    assert says in str(caught.value)
    assert "config.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FlareError, match=r"none\.toml"):
        chosen_recipe("lite", config=tmp_path / "none.toml")


def test_a_missing_field_is_named() -> None:
    with pytest.raises(SpecError, match="spec: missing"):
        record_from_fields(TrainingRecipe, {"batch": 1, "steps": 1})
    assert overridden(smoke(), {}) == smoke()


@pytest.mark.parametrize("recipe", [coarse(), fine()], ids=["coarse", "fine"])
def test_the_papers_recipes_hold_the_papers_numbers(recipe: TrainingRecipe) -> None:
    """Table 2 and section 2 of the paper, and what its released code adds: every number by itself."""
    hu = recipe.spec.normalization
    assert (hu.clip_low_hu, hu.clip_high_hu, hu.mean_hu, hu.std_hu) == (-934.0, 276.0, 78.691, 128.488)
    assert (recipe.spec.patch, recipe.batch, recipe.spec.window_step) == ((32, 192, 192), 4, 0.6)
    assert (recipe.spec.skipping.foreground_voxels, recipe.spec.skipping.minimal_positions) == (100, 5)
    network = recipe.spec.network
    assert (network.features, network.block) == ((32, 64, 128, 256, 320, 320), "plain")
    assert network.kernels == ((3, 3, 3),) * 6
    assert network.strides == ((1, 1, 1), *((2, 2, 2),) * 5)
    assert (network.convolutions_encoder, network.convolutions_decoder) == ((2,) * 6, (2,) * 5)
    sgd = recipe.optimization
    assert (sgd.method, sgd.learning_rate, sgd.momentum, sgd.weight_decay) == ("sgd", 0.01, 0.99, 3e-5)
    assert (sgd.power, sgd.warmup, sgd.gradient_clip) == (0.9, 0, 12.0)
    spatial = recipe.augmentation.spatial
    assert (spatial.rotation_degrees, spatial.rotation_probability) == (30.0, 0.2)
    assert (spatial.scale_low, spatial.scale_high, spatial.scale_probability) == (0.7, 1.4, 0.2)
    assert spatial.mirror_axes == (0, 1), "left-right is not mirrored: kidneys and adrenal glands are sided"
    assert (spatial.elastic_probability, spatial.elastic_knots_mm, spatial.elastic_magnitude_mm) == (0.2, 32.0, 12.0)
    assert (recipe.sampling.foreground, recipe.sampling.jitter) == (0.7, 0.0)
    assert recipe.sampling.paired_after == 150 * 250
    assert (recipe.class_weights, recipe.partial_loss) == (None, "merge_max")
    assert recipe.validation.mean_keeps == 0.9
    assert (recipe.cleaning_rules.smallest_voxels, recipe.cleaning_rules.far_mm) == (100, 20.0)


def test_patches_are_turned_to_either_side_by_at_most_30_degrees_and_never_mirrored_left_to_right() -> None:
    spatial = dataclasses.replace(coarse().augmentation.spatial, rotation_probability=1.0)
    rng = np.random.default_rng(0)
    drawn = [draw_spatial(spatial, rng) for _ in range(400)]
    degrees = np.rad2deg([parameters.angles for parameters in drawn])
    assert -30 <= degrees.min() < -29
    assert 29 < degrees.max() <= 30
    assert abs(degrees.mean()) < 3
    mirrored = [parameters.mirrored for parameters in drawn]
    assert {axis for axes in mirrored for axis in axes} == {0, 1}
    assert np.mean([0 in axes for axes in mirrored]) == pytest.approx(0.5, abs=0.1)
