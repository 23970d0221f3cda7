"""The training loop."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from flare_infer.device import autocast_type
from flare_infer.errors import DatasetError
from flare_infer.network import UNet
from train.augment.chain import augmented_patch
from train.augment.patch import Patch
from train.data.sampler import CenterSampler, sample_generator
from train.data.store import read_store
from train.fit.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from train.fit.journal import Entry, Journal
from train.fit.schedule import make_optimizer, poly_learning_rate
from train.loss.deep_supervision import deep_supervision_loss
from train.recipes import Recipe

STEPS_PER_CHECKPOINT = 100


def fit(
    recipe: Recipe,
    store: Path,
    run: Path,
    device: torch.device,
    progress: Callable[[Entry], None] = lambda entry: None,
    stop: Callable[[], bool] = lambda: False,
) -> UNet:
    """Train a recipe on a store of prepared cases; a run that was interrupted goes on where its checkpoint stands.

    Args:
        recipe: what to do.
        store: folder of prepared cases.
        run: folder of checkpoint and journal; made if need be.
        device: where to compute.
        progress: called after each step.
        stop: asked before each step; once true, the state is saved and training ends early.

    Returns:
        the trained network.

    Raises:
        DatasetError: if the store is empty or damaged, or the run belongs to another recipe.
    """
    run.mkdir(parents=True, exist_ok=True)
    sampler = CenterSampler(read_store(store), recipe.sampling, recipe.spec.patch)
    torch.manual_seed(recipe.seed)
    network = UNet(recipe.spec.network, recipe.spec.classes).to(device)
    optimizer = make_optimizer(network.parameters(), recipe.optimization)
    first, skipped = 0, 0
    if (checkpoint := load_checkpoint(run)) is not None:
        _check_same_recipe(run, checkpoint, recipe)
        network.load_state_dict(checkpoint.network)
        optimizer.load_state_dict(checkpoint.optimizer)
        first, skipped = checkpoint.step, checkpoint.skipped
    journal = Journal(run, steps_done=first)
    network.train()

    done = first
    for step in range(first, recipe.steps):
        if stop():
            break
        started = time.perf_counter()
        rate = poly_learning_rate(recipe.optimization, step, recipe.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate

        patches = [_draw_patch(recipe, sampler, step, index) for index in range(recipe.batch)]
        loss = _loss(network, patches, device)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.optimization.gradient_clip))
        finite = math.isfinite(norm)
        if finite:
            optimizer.step()
        skipped += not finite

        done = step + 1
        entry = Entry(
            step=step,
            loss=loss.item(),
            learning_rate=rate,
            gradient_norm=norm,
            seconds=time.perf_counter() - started,
            skipped=not finite,
        )
        journal.write(entry)
        progress(entry)
        if done % STEPS_PER_CHECKPOINT == 0:
            save_checkpoint(run, _state(recipe, network, optimizer, done, skipped))
    if done % STEPS_PER_CHECKPOINT or done == first:
        save_checkpoint(run, _state(recipe, network, optimizer, done, skipped))
    return network


def _draw_patch(recipe: Recipe, sampler: CenterSampler, step: int, index: int) -> Patch:
    rng = sample_generator(recipe.seed, step, index)
    return augmented_patch(
        sampler.draw(rng),
        recipe.augmentation,
        rng,
        size=recipe.spec.patch,
        spacing_mm=recipe.spec.spacing_mm,
        air=recipe.spec.normalization.air,
    )


def _loss(network: UNet, patches: list[Patch], device: torch.device) -> Tensor:
    images_nczyx = torch.stack([patch.image_zyx for patch in patches])[:, None].to(device)
    labels_nzyx = torch.stack([patch.labels_zyx for patch in patches]).to(device)
    half = autocast_type(device)
    with torch.autocast(device.type, dtype=half, enabled=half is not None):
        stages = network.deep_supervision(images_nczyx)
    return deep_supervision_loss(stages, labels_nzyx, [patch.annotated for patch in patches])


def _state(recipe: Recipe, network: UNet, optimizer: torch.optim.Optimizer, step: int, skipped: int) -> Checkpoint:
    return Checkpoint(
        step=step,
        network=network.state_dict(),
        optimizer=optimizer.state_dict(),
        skipped=skipped,
        recipe=recipe.to_json(),
    )


def _check_same_recipe(run: Path, checkpoint: Checkpoint, recipe: Recipe) -> None:
    if checkpoint.recipe != recipe.to_json():
        raise DatasetError(f"{run}: holds a run of another recipe; choose another folder, or the recipe it began with")
