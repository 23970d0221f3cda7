"""A recipe and the store it trains on must speak of the same voxels."""

from dataclasses import replace
from pathlib import Path

from flare_infer.errors import DatasetError
from flare_infer.spec import Normalization
from train.data.prepare import grid_key
from train.data.store import read_grid
from train.recipes import Recipe


def on_grid_of(store: Path, recipe: Recipe) -> Recipe:
    """The recipe with the normalization that the store was prepared with.

    Raises:
        DatasetError: if the store is not finished, or was prepared for another spacing or orientation.
    """
    grid = read_grid(store)
    try:
        normalization = Normalization(**grid["normalization"])
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{store}: not the description of a store; run `flare-train prepare` again") from error
    fitting = replace(recipe, spec=replace(recipe.spec, normalization=normalization))
    wanted = grid_key(fitting.spec)
    differing = [name for name, value in wanted.items() if grid.get(name) != value]
    if differing:
        raise DatasetError(
            f"{store}: prepared for another model: "
            + ", ".join(f"{name} is {grid.get(name)}, the recipe's {wanted[name]}" for name in differing)
            + "; prepare it again for this recipe, into another folder"
        )
    return fitting
