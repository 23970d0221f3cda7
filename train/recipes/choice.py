"""The options `--recipe` and `--config` of several commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flare_infer.errors import UsageError
from flare_infer.label_set import FLARE23, LabelSet

if TYPE_CHECKING:
    from train.recipes.recipe import TrainingRecipe

RecipeName = Literal["coarse", "fine", "lite", "smoke"]
RecipeOption = Annotated[
    RecipeName,
    typer.Option(help="coarse and fine: the paper's numbers; lite: for the CPU; smoke: a toy."),
]
ConfigOption = Annotated[Path | None, typer.Option(help="TOML file with fields of the recipe to change.")]


def chosen_recipe(
    name: RecipeName, steps: int | None = None, config: Path | None = None, label_set: LabelSet = FLARE23
) -> "TrainingRecipe":
    """The recipe of that name, with the changes of a TOML file.

    Args:
        name: name of a built-in recipe.
        steps: number of steps of the run; None keeps the recipe's or the file's.
        config: TOML file with fields of the recipe to change; None for none.
        label_set: the classes of the model.

    Raises:
        UsageError: if the file cannot be read, or has an unknown field or an invalid value, naming it.
    """
    from dataclasses import replace

    from train.recipes import recipe as recipes

    makers = {"coarse": recipes.coarse, "fine": recipes.fine, "lite": recipes.lite, "smoke": recipes.smoke}
    recipe = makers[name]().for_labels(label_set)
    if config is not None:
        recipe = _configured(recipe, config)
    return recipe if steps is None else replace(recipe, steps=steps)


def _configured(recipe: "TrainingRecipe", config: Path) -> "TrainingRecipe":
    from flare_infer.errors import SpecError
    from train.config_file import overridden, read_toml

    try:
        return overridden(recipe, read_toml(config))
    except SpecError as error:
        raise UsageError(f"{config}: {error}") from error
