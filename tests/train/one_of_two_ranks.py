"""What each of two processes does in `test_ranks`: python one_of_two_ranks.py STORE FOLDER PORT.

At last it is `flare-train fit`, without an end, into FOLDER/endless; the processes meet
at another port then, for the first one may still be taken.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from flare_infer.errors import FlareError
from train.augment.patch import Patch
from train.batches.samples import Samples
from train.commands.app import main as flare_train
from train.fit import state, validate
from train.fit import step as step_module
from train.fit.loop import fit
from train.fit.ranks import Ranks, torchrun_ranks
from train.fit.state import State
from train.fit.step import DeeplySupervised, batch_loss
from train.recipes.recipe import TrainingRecipe, smoke
from train.record.callbacks import TrainingCallbacks
from train.store.store import read_store

RECIPE = replace(smoke(steps=4), validation=replace(smoke().validation, every_steps=2))


def in_float32() -> None:
    """What two processes and one compute is compared closely: not in half precision."""
    for module in (step_module, state, validate):
        module.autocast_type = lambda device: None  # type: ignore[attr-defined]


def gradients(store: Path, ranks: Ranks) -> list[torch.Tensor | None]:
    """Of this process's share of a batch, averaged over all."""
    now = State.begin(RECIPE, ranks.device)
    samples = Samples(RECIPE, read_store(store))
    patches = [samples.draw(0, index).patch for index in ranks.share(RECIPE.batch)]
    model = ranks.averaging(DeeplySupervised(now.network))
    batch_loss(RECIPE, model, patches).backward()  # type: ignore[no-untyped-call]
    return [parameter.grad for parameter in now.network.parameters()]


def with_second_spoiled(store: Path, run: Path, ranks: Ranks, how: str) -> str:
    """Train while the second process meets a loss or a gradient that is not finite at its second step."""
    calls: list[None] = []

    def spoiled(recipe: TrainingRecipe, model: nn.Module, patches: Sequence[Patch]) -> torch.Tensor:
        loss = batch_loss(recipe, model, patches)
        calls.append(None)
        if ranks.rank == 0 or len(calls) != 2:
            return loss
        weights = next(model.parameters())
        return loss * float("nan") if how == "loss" else loss + (weights - weights.detach()).sqrt().sum()

    step_module.batch_loss = spoiled
    try:
        fit(RECIPE, store, run, ranks.device)
    except FlareError as error:
        return str(error)
    finally:
        step_module.batch_loss = batch_loss
    return ""


def main(store: Path, folder: Path, port: str) -> None:
    """Leave what was found in FOLDER/RANK.pt."""
    in_float32()
    asked: list[None] = []
    with torchrun_ranks("cpu") as ranks:

        def stop() -> bool:
            asked.append(None)
            return ranks.rank == 1 and len(asked) > 3

        found = {
            "gradients": gradients(store, ranks),
            "whole": fit(RECIPE, store, folder / "whole", ranks.device).state_dict(),
            "stopped": fit(RECIPE, store, folder / "stopped", ranks.device, TrainingCallbacks(stop=stop)).state_dict(),
            "bad loss": with_second_spoiled(store, folder / "loss", ranks, "loss"),
            "bad gradient": with_second_spoiled(store, folder / "gradient", ranks, "gradient"),
        }
        torch.save(found, folder / f"{ranks.rank}.pt")
    os.environ["MASTER_PORT"] = port
    sys.argv = ["flare-train", "fit", str(store), str(folder / "endless")]
    sys.argv += ["--recipe", "smoke", "--steps", "100000", "--device", "cpu"]
    flare_train()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
