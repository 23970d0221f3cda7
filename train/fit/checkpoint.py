"""Checkpoints, from which an interrupted run continues.

=================  ==========================================================================
field              value on resume
=================  ==========================================================================
step               the checkpoint: steps done
network            the checkpoint
optimizer          the checkpoint's momenta; the learning rate is set anew from the schedule
skipped            the checkpoint: steps passed over for a gradient that was not finite
scaler             the checkpoint: the factor that keeps float16 gradients from vanishing, and
                   when it grows; ignored if the run resumes in another precision, and new if
                   the checkpoint has none
standing           the checkpoint: last validation, exponential mean, best score and its step
origin             the checkpoint: name, hash and training of the weights the run began with; empty
                   if these were random
sources            the checkpoint: names and hashes of the cases it learned from, see `sources`. The
                   cases of the resumed run must equal the last of them, or the run is refused;
                   --changed-cases adds one more. A checkpoint of an earlier version has none, and
                   takes those of the resumed run
recipe             must equal the recipe of the resumed run, or the run is refused; fields that it
                   lacks have their defaults. Its `validation` may differ: that of the resumed run
                   is used, because it changes nothing that is learned
=================  ==========================================================================

Random numbers need no state, because every sample depends on seed, step and index only. The number of processes may
change on resume, too.

`best.pt` has the same form without the optimizer and holds the network with the best exponential mean so far.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final, Literal, TypeAlias

import torch

from flare_infer.errors import DatasetError
from flare_infer.files.write_whole import whole_file
from train.differences import differing_fields, some_of
from train.recipes.recipe import TrainingRecipe, recipe_from_json

CHECKPOINT_FILE: Final = "checkpoint.pt"
BEST_FILE: Final = "best.pt"

NetworkChoice: TypeAlias = Literal["best", "last"]
"""Which network of a run: that with the best exponential mean of validation scores, or the last one."""


Origin: TypeAlias = dict[str, Any]
"""The weights that a run began with: `name`, `sha256` and `training` of their model; see `initial_weights`."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a run after some steps; `recipe` is the recipe as JSON text."""

    step: int
    network: dict[str, Any]
    optimizer: dict[str, Any]
    skipped: int
    recipe: str
    scaler: dict[str, Any] = field(default_factory=dict)
    standing: dict[str, Any] = field(default_factory=dict)
    origin: Origin = field(default_factory=dict)
    sources: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(run: Path, checkpoint: Checkpoint, name: str = CHECKPOINT_FILE) -> None:
    """Replace the run's checkpoint of that name; the old one stays until the new one is complete.

    Raises:
        NotWrittenError: if it cannot be written, for example because the disk is full.
    """
    with whole_file(run / name) as part, part.open("wb") as file:  # an open one, since torch notes the name of another
        torch.save(vars(checkpoint), file)


def load_checkpoint(run: Path, name: str = CHECKPOINT_FILE) -> Checkpoint | None:
    """The run's checkpoint of that name, on the CPU; None if there is none yet.

    Raises:
        DatasetError: if the file is damaged or not one of ours.
    """
    path = run / name
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(**content)
    except (RuntimeError, TypeError, ValueError, EOFError, OSError, UnpicklingError) as error:
        raise DatasetError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); delete it to start again"
        ) from error


def refuse_changed_recipe(run: Path, checkpoint: Checkpoint, recipe: TrainingRecipe) -> None:
    """Refuse to continue a run with another recipe than it began with; `validation` may differ.

    Raises:
        DatasetError: naming the fields that differ.
    """
    begun = replace(recipe_from_json(checkpoint.recipe), validation=recipe.validation)
    if begun.spec.labels != recipe.spec.labels:
        before, now = (set(one.spec.labels) for one in (begun, recipe))
        there, here = (some_of(sorted(names), between=", ") for names in (before - now, now - before))
        how = f"it has {there or 'no other'}, the store {here or 'no other'}" if before != now else "in another order"
        raise DatasetError(
            f"{run}: learns the classes of another label set ({how}); choose another folder for the run, or the store "
            "it began with"
        )
    if begun != recipe:
        differing = list(differing_fields(json.loads(begun.to_json()), json.loads(recipe.to_json())))
        raise DatasetError(
            f"{run}: holds a run of another recipe ({some_of(differing)}); choose another folder, or the recipe it "
            "began with. To teach this network more by another recipe: `flare-train export` it, then `flare-train fit` "
            "into another folder with --start"
        )


def load_network_of(run: Path, which: NetworkChoice | None = None) -> Checkpoint:
    """Load the checkpoint with a network of a run.

    Args:
        run: folder of the run.
        which: which network; None takes the best one, or the last one of a run without validation.

    Raises:
        DatasetError: if there is none, or the file is damaged.
    """
    files = {"best": [BEST_FILE], "last": [CHECKPOINT_FILE], None: [BEST_FILE, CHECKPOINT_FILE]}[which]
    for name in files:
        checkpoint = load_checkpoint(run, name)
        if checkpoint is not None:
            return checkpoint
    if which == "best":
        raise DatasetError(f"{run / BEST_FILE}: no validated network here; take --checkpoint last")
    raise DatasetError(f"{run}: no checkpoint here; run `flare-train fit` first")
