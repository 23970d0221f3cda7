"""Weights that a run begins with instead of random ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flare_infer.errors import UsageError
from flare_infer.spec import ModelSpec
from flare_infer.weights import check_weights, load_networks
from train.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class Start:
    """A trained model to begin with.

    Attributes:
        network: its parameters, float32, on the CPU.
        origin: name, SHA-256 and training of it, for the record of what is trained from it.
    """

    network: dict[str, torch.Tensor]
    origin: dict[str, Any]


def read_start(weights: Path, recipe: Recipe) -> Start:
    """The model in a weights directory, as a start for a recipe.

    Raises:
        UsageError: if its network, its classes or what it gets to see differ from the recipe's.
        SpecError, WeightsError: if it cannot be read; see `flare_infer.weights.load_model`.
    """
    spec, networks = load_networks(weights, torch.device("cpu"))
    if spec.folds != 1 or (differing := _differing(spec, recipe.spec)):
        what = f"{spec.folds} folds" if spec.folds != 1 else ", ".join(differing)
        raise UsageError(f"{weights}: no start for recipe {recipe.spec.name}, of another model: {what}")
    origin = {"name": spec.name, "sha256": check_weights(weights), "training": spec.training}
    return Start(network=networks[0].state_dict(), origin=origin)


def _differing(found: ModelSpec, wanted: ModelSpec) -> list[str]:
    names = ("network", "labels", "spacing_mm", "normalization", "orientation", "transpose")
    return [name for name in names if getattr(found, name) != getattr(wanted, name)]
