"""Starting a run with the weights of a trained model instead of random ones."""

from pathlib import Path

import torch

from flare_infer.errors import DatasetError, UsageError
from flare_infer.model.model_file import read_model_file
from flare_infer.model.spec import ModelSpec
from flare_infer.model.weights import check_weights, networks_of
from train.fit.checkpoint import Origin, load_checkpoint
from train.fit.state import State
from train.recipes.recipe import TrainingRecipe

_CPU = torch.device("cpu")


def begin_with_weights(weights: Path, recipe: TrainingRecipe, run: Path) -> None:
    """Write a run's first checkpoint, before any step, with the weights of a trained model; `fit` continues from it.

    A run that already began with these weights stays unchanged.

    Args:
        weights: weights directory of the trained model.
        recipe: recipe of the run.
        run: folder of the run.

    Raises:
        UsageError: if the model's network, classes, spacing, normalization or axes differ from the recipe's.
        SpecError, WeightsError: if it cannot be read; see `flare_infer.model.weights.load_networks`.
        DatasetError: if the run began with other weights.
    """
    model = read_model_file(weights)
    spec, networks = model.spec, networks_of(model, _CPU)
    if spec.folds != 1 or (differing := _differing(spec, recipe.spec)):
        what = f"{spec.folds} folds" if spec.folds != 1 else ", ".join(differing)
        raise UsageError(f"{weights}: no start for recipe {recipe.spec.name}, of another model: {what}")
    origin = {"name": spec.name, "sha256": check_weights(model), "training": spec.training}
    begun = load_checkpoint(run)
    if begun is None:
        state = State.begin(recipe, _CPU)
        state.network.load_state_dict(networks[0].state_dict())
        state.origin = origin
        run.mkdir(parents=True, exist_ok=True)
        state.save(run, recipe)
    elif begun.origin != origin:
        raise DatasetError(
            f"{run}: holds a run that began with {_said(begun.origin)}, not with {_said(origin)}; choose another "
            "folder, or the same start"
        )


def _differing(found: ModelSpec, wanted: ModelSpec) -> list[str]:
    names = ("network", "labels", "spacing_mm", "normalization", "orientation", "transpose")
    return [name for name in names if getattr(found, name) != getattr(wanted, name)]


def _said(origin: Origin) -> str:
    return f"the weights {origin['name']} ({origin['sha256'][:12]})" if origin else "random weights"
