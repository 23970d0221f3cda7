"""A recipe and the store it trains on must speak of the same voxels, and of the same cases."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from flare_infer.errors import DatasetError
from flare_infer.model.spec import Normalization
from train.fit.sources import TrainingSources
from train.recipes.recipe import TrainingRecipe
from train.store.prepare import grid_key
from train.store.store import PreparedCase, read_grid, read_store

CHECKED_FILE: Final = "checked.json"
"""In a run's folder: which files of the store were found sound, so that who goes on need not read them all again."""


def recipe_for_store(store: Path, recipe: TrainingRecipe) -> TrainingRecipe:
    """The recipe with the normalization that the store was prepared with.

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
    """What cases and tumor objects prepared for a recipe depend on."""
    return grid_key(recipe.spec, recipe.label_cleaning)


def cases_for_recipe(recipe: TrainingRecipe, store: Path, remembered: Path | None = None) -> list[PreparedCase]:
    """The cases of a store that a recipe trains on: those with pseudo labels only if it says so.

    Args:
        recipe: what it does.
        store: folder of prepared cases.
        remembered: which files were found sound before, see `read_store`.

    Raises:
        DatasetError: if the store is not finished or damaged, or no case is left.
    """
    return read_store(store, with_unlabeled=recipe.unlabeled, remembered=remembered)


def sources_for_recipe(
    recipe: TrainingRecipe, store: Path, objects: Path | None, remembered: Path | None = None
) -> TrainingSources:
    """What a recipe would learn from in a store and a folder of tumor objects; raises as `cases_for_recipe`."""
    return TrainingSources.of(store, cases_for_recipe(recipe, store, remembered), objects)


def _said(value: Any) -> Any:
    return "none" if value is None else value
