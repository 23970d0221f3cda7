"""Checks that a recipe and a store were made for the same voxels."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from flare_infer.errors import DatasetError, SpecError
from flare_infer.files.record import record_from_fields
from flare_infer.label_set import FLARE23, LabelSet
from flare_infer.model.spec import Normalization
from train.recipes.recipe import TrainingRecipe
from train.store.prepare import grid_key
from train.store.store import read_grid

CHECKED_FILE: Final = "checked.json"
"""Name of the file in a run's folder that records which files of the store were found sound, see `check_seals`."""


def recipe_for_store(store: Path, recipe: TrainingRecipe) -> TrainingRecipe:
    """The recipe with the normalization that the store was prepared with.

    Args:
        store: folder of prepared cases.
        recipe: recipe of the run.

    Raises:
        DatasetError: if the store is not finished, or was prepared for another spacing, orientation or cleaning.
    """
    grid = read_grid(store)
    try:
        normalization = Normalization(**grid["normalization"])
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{store}: not the description of a store; run `flare-train prepare` again") from error
    fitting = replace(recipe, spec=replace(recipe.spec, normalization=normalization))
    wanted = recipe_key(fitting)
    differing = [name for name, value in wanted.items() if grid.get(name) != value]
    if differing:
        raise DatasetError(
            f"{store}: prepared for another model: "
            + ", ".join(f"{name} is {_said(grid.get(name))}, the recipe's {_said(wanted[name])}" for name in differing)
            + "; prepare it again for this recipe, into another folder"
        )
    return fitting


def read_store_labels(store: Path) -> LabelSet:
    """The label set that a store was prepared with.

    Raises:
        DatasetError: if the folder is no finished store, or its label set is damaged.
    """
    stored = read_grid(store).get("label_set")
    try:
        return FLARE23 if stored is None else record_from_fields(LabelSet, stored)
    except (SpecError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{store}: not readable as a label set ({error}); run `flare-train prepare` again"
        ) from error


def recipe_key(recipe: TrainingRecipe) -> dict[str, Any]:
    """Everything that determines the cases and tumor objects prepared for a recipe, as JSON."""
    return grid_key(recipe.spec, recipe.label_cleaning)


def _said(value: Any) -> Any:
    return "none" if value is None else value
