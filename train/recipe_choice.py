"""The option `--recipe` of several commands."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from train.recipes import Recipe

RecipeName = Literal["coarse", "lite", "smoke"]
RecipeOption = Annotated[RecipeName, typer.Option(help="coarse: the paper's numbers; lite: for the CPU; smoke: a toy.")]


def chosen_recipe(name: RecipeName, steps: int | None = None) -> "Recipe":
    """The recipe of that name, with another number of steps if one is given."""
    from dataclasses import replace

    from train import recipes

    recipe = {"coarse": recipes.coarse, "lite": recipes.lite, "smoke": recipes.smoke}[name]()
    return recipe if steps is None else replace(recipe, steps=steps)
