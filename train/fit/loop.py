"""The training loop."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from flare_infer.device import autocast_type
from flare_infer.errors import DatasetError
from flare_infer.network import UNet
from train.augment.patch import Patch
from train.data.objects import TumorObject, read_objects
from train.data.store import read_names
from train.fit.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from train.fit.grid import cases_of, recipe_key
from train.fit.journal import Entry, Journal
from train.fit.samples import Samples
from train.fit.schedule import make_optimizer, poly_learning_rate
from train.loss.deep_supervision import deep_supervision_loss
from train.recipes import Recipe, recipe_from_json

STEPS_PER_CHECKPOINT: Final = 100


def fit(
    recipe: Recipe,
    store: Path,
    run: Path,
    device: torch.device,
    progress: Callable[[Entry], None] = lambda entry: None,
    stop: Callable[[], bool] = lambda: False,
    objects: Path | None = None,
) -> UNet:
    """Train a recipe on a store of prepared cases; a run that was interrupted goes on where its checkpoint stands.

    Args:
        recipe: what to do.
        store: folder of prepared cases.
        run: folder of checkpoint and journal; made if need be.
        device: where to compute.
        progress: called after each step.
        stop: asked before each step; once true, the state is saved and training ends early.
        objects: folder of the tumor objects that a recipe with CutMix pastes.

    Returns:
        the trained network.

    Raises:
        DatasetError: if the store is empty or damaged, the run belongs to another recipe, or tumor objects are missing.
    """
    samples = Samples(recipe, cases_of(recipe, store), _objects(recipe, store, objects))
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    network = UNet(recipe.spec.network, recipe.spec.classes).to(device).train()
    optimizer = make_optimizer(network.parameters(), recipe.optimization)
    done, skipped = _restore(run, recipe, network, optimizer)
    journal = Journal(run, steps_done=done)

    while done < recipe.steps and not stop():
        started = time.perf_counter()
        rate = poly_learning_rate(recipe.optimization, done, recipe.steps)
        batch = [samples.draw(done, index) for index in range(recipe.batch)]
        loss, norm = _learn(recipe, network, optimizer, [sample.patch for sample in batch], rate)
        seconds = time.perf_counter() - started
        finite = math.isfinite(norm)
        entry = Entry(
            step=done,
            loss=loss,
            learning_rate=rate,
            gradient_norm=norm,
            seconds=seconds,
            skipped=not finite,
            pasted=sum(sample.paste == "pasted" for sample in batch),
            lost=sum(sample.paste == "lost" for sample in batch),
        )
        skipped += not finite
        done += 1
        if done % STEPS_PER_CHECKPOINT == 0 or done == recipe.steps:
            _save(run, recipe, network, optimizer, done, skipped)
        journal.write(entry)
        progress(entry)
    if done < recipe.steps:
        _save(run, recipe, network, optimizer, done, skipped)
    return network


def _objects(recipe: Recipe, store: Path, folder: Path | None) -> list[TumorObject]:
    """The tumor objects that the recipe asks for, none of them from a validation case."""
    if recipe.cutmix and folder is None:
        raise DatasetError("this recipe pastes tumor objects: name their folder, or set cutmix = false in a --config")
    if not recipe.cutmix and folder is not None:
        raise DatasetError(f"{folder}: this recipe pastes no tumor objects; set cutmix = true in a --config")
    if folder is None:
        return []
    return read_objects(folder, read_names(store, "validation"), recipe_key(recipe))


def _learn(
    recipe: Recipe, network: UNet, optimizer: torch.optim.Optimizer, patches: list[Patch], rate: float
) -> tuple[float, float]:
    """One step on some patches; a gradient that is not finite changes nothing.

    Returns:
        the loss and the norm of the gradient before clipping.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = _loss(recipe, network, patches)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = float(torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.optimization.gradient_clip))
    if math.isfinite(norm):
        optimizer.step()
    return loss.item(), norm


def _loss(recipe: Recipe, network: UNet, patches: list[Patch]) -> Tensor:
    device = next(network.parameters()).device
    images_nczyx = torch.stack([patch.image_zyx for patch in patches])[:, None].to(device)
    labels_nzyx = torch.stack([patch.labels_zyx for patch in patches]).to(device)
    half = autocast_type(device)
    with torch.autocast(device.type, dtype=half, enabled=half is not None):
        stages = network.deep_supervision(images_nczyx)
    annotated = [patch.annotated for patch in patches]
    return deep_supervision_loss(stages, labels_nzyx, annotated, recipe.class_weights, recipe.partial_loss)


def _restore(run: Path, recipe: Recipe, network: UNet, optimizer: torch.optim.Optimizer) -> tuple[int, int]:
    """Fill network and optimizer from the run's checkpoint, if it has one; the numbers of steps done and skipped."""
    checkpoint = load_checkpoint(run)
    if checkpoint is None:
        return 0, 0
    if recipe_from_json(checkpoint.recipe) != recipe:
        raise DatasetError(f"{run}: holds a run of another recipe; choose another folder, or the recipe it began with")
    network.load_state_dict(checkpoint.network)
    optimizer.load_state_dict(checkpoint.optimizer)
    return checkpoint.step, checkpoint.skipped


def _save(run: Path, recipe: Recipe, network: UNet, optimizer: torch.optim.Optimizer, step: int, skipped: int) -> None:
    save_checkpoint(
        run,
        Checkpoint(
            step=step,
            network=network.state_dict(),
            optimizer=optimizer.state_dict(),
            skipped=skipped,
            recipe=recipe.to_json(),
        ),
    )
