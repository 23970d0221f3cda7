"""The stages around one model, whatever the protocol: prepare its cases, train it, export it, predict with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from flare_infer.files.record import fields_to_write
from train.fit.checkpoint import CHECKPOINT_FILE
from train.fit.matching_store import recipe_key
from train.protocol.config import Machine, Model
from train.recipes.choice import chosen_recipe
from train.recipes.recipe import TrainingRecipe
from train.record.journal import JOURNAL_FILE
from train.store.normalization import kept_normalization
from train.workflow.stage import Stage

TRAIN: Final = "flare-train"
"""The command."""

SEALED: Final = "*/seal.json"
"""What is there for each prepared case and each case with tumor objects."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A recipe, and how commands name it.

    Attributes:
        model: what the configuration says of the model.
        recipe: the recipe of one of its seeds.
        file: where the run folder holds what is changed in the recipe.
        normalization: recipe, its own numbers, or dataset, measured when the cases are prepared.
    """

    model: Model
    recipe: TrainingRecipe
    file: Path
    normalization: Literal["recipe", "dataset"]

    @property
    def options(self) -> tuple[str, ...]:
        """The options of a command that choose it."""
        return ("--recipe", self.model.recipe, "--config", str(self.file))

    @property
    def voxels(self) -> dict[str, Any]:
        """What prepared voxels depend on."""
        grid = recipe_key(self.recipe)
        if self.normalization == "dataset":
            del grid["normalization"]
        return {"grid": grid, "normalization": self.normalization}


def usual_normalization(model: Model, recipe: TrainingRecipe, store: Path) -> Literal["recipe", "dataset"]:
    """Where a model's normalization is from; the recipe's numbers were the default of earlier versions."""
    if model.normalization != "auto":
        return model.normalization
    numbers = recipe.spec.normalization
    stated = numbers != chosen_recipe(model.recipe).spec.normalization
    return "recipe" if stated or kept_normalization(store) == numbers else "dataset"


def prepare_stage(name: str, dataset: Path, store: Path, chosen: Chosen, workers: int, cases: int) -> Stage:
    """Bring the cases of a dataset, of which there are so many, to the grid of a recipe."""
    normalization = ("--normalization", chosen.normalization)
    return Stage(
        name=name,
        command=(TRAIN, "prepare", str(dataset), str(store), *chosen.options, *normalization),
        # What is there is the pipeline's own: whatever a changed recipe left is made anew, the rest is kept.
        running=("--replace", "--workers", str(workers)),
        workers=workers,
        settings=chosen.voxels,
        output=store,
        proof="store.json",
        leftovers="kept",
        counted=(SEALED, cases),
    )


def fit_stage(
    name: str, store: Path, run: Path, chosen: Chosen, machine: Machine, options: tuple[str, ...] = ()
) -> Stage:  # fmt: skip
    """Train by a recipe; `options` are further ones of `flare-train fit`."""
    several = ("torchrun", "--standalone", "--nproc-per-node", str(machine.gpus), "--no-python")
    settings = fields_to_write(chosen.recipe)
    del settings["validation"]  # a run may go on with other numbers: they change nothing that is learned
    arguments = ("fit", str(store), str(run), *chosen.options, *options)
    return Stage(
        name=name,
        command=(*(several if machine.gpus > 1 else ()), TRAIN, *arguments),
        running=("--device", machine.device),
        gpus=machine.gpus if machine.device != "cpu" else 0,
        settings={"recipe": settings},
        output=run,
        proof=CHECKPOINT_FILE,
        leftovers="continued",
        counted=(JOURNAL_FILE, chosen.recipe.steps),
    )


def export_stage(name: str, run: Path, store: Path, weights: Path) -> Stage:
    """Write the weights folder of a run."""
    return Stage(
        name=name,
        command=(TRAIN, "export", str(run), str(store), str(weights)),
        output=weights,
        proof="model.safetensors",
    )


def predict_stage(name: str, images: Path, labels: Path, weights: Path, device: str, cases: int) -> Stage:
    """Segment a folder of so many CTs."""
    return Stage(
        name=name,
        command=("flare-infer", "predict", str(images), str(labels), "--weights", str(weights)),
        running=("--device", device),
        gpus=int(device != "cpu"),
        output=labels,
        proof="report.json",
        leftovers="kept",
        counted=("*.nii.gz", cases),
    )
