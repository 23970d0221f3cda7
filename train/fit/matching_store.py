"""Checks that a recipe and a store were made for the same voxels."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from flare_infer.errors import DatasetError
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


def recipe_key(recipe: TrainingRecipe) -> dict[str, Any]:
    """Everything that determines the cases and tumor objects prepared for a recipe, as JSON."""
    return grid_key(recipe.spec, recipe.label_cleaning)


def _said(value: Any) -> Any:
    return "none" if value is None else value
