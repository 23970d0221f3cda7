"""The training loop."""

import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from flare_infer.errors import DatasetError
from flare_infer.model.network import UNet
from train.batches.samples import Sample, Samples
from train.batches.stream import stream_samples
from train.dataset.cases import untrained_codes
from train.fit.bad_batch import save_bad_batch
from train.fit.logbook import Logbook
from train.fit.matching_store import CHECKED_FILE, recipe_key
from train.fit.ranks import Ranks, present_ranks
from train.fit.sources import TrainingSources, annotated_sets, continued_sources
from train.fit.state import State
from train.fit.step import DeeplySupervised, StepResult, train_step
from train.fit.validate import validate
from train.recipes.recipe import TrainingRecipe
from train.record.callbacks import TrainingCallbacks
from train.record.journal import StepEntry
from train.record.score import mean_score
from train.store.extract_tumors import refuse_without_lesions
from train.store.store import PreparedCase, read_names, read_store
from train.store.tumor_objects import TumorObject, read_objects

STEPS_PER_CHECKPOINT: Final = 100

_NO_CALLBACKS = TrainingCallbacks()


def fit(
    recipe: TrainingRecipe,
    store: Path,
    run: Path,
    device: torch.device,
    callbacks: TrainingCallbacks = _NO_CALLBACKS,
    objects: Path | None = None,
    workers: int = 0,
) -> UNet:
    """Train a recipe on a store of prepared cases; an interrupted run continues from its checkpoint.

    If every process inside `ranks.torchrun_ranks` calls it, they train one network together. `device` is where this
    process computes, `objects` the folder of tumor objects for a recipe with CutMix, and `workers` the number of
    processes that draw samples ahead for this one.

    Raises:
        DatasetError: if the store is empty or damaged, the run has another recipe or cases, or objects are missing.
        UsageError: if the batch cannot be divided among the processes.
        FlareError: if the loss is not finite; the batch is kept for inspection, and the checkpoint is from before it.
    """
    ranks = present_ranks(device)
    indices = ranks.share(recipe.batch)
    cases, held_out = ranks.first_then_others(lambda: _cases(recipe, store, run / CHECKED_FILE))
    samples = Samples(recipe, cases, _objects(recipe, store, objects))
    state = State.begin(recipe, device)
    state.restore(run, recipe)
    state.sources = continued_sources(run, state.step, state.sources, TrainingSources.of(store, cases, objects))
    spec = replace(recipe.spec, untrained=untrained_codes(annotated_sets(state.sources), recipe.spec.label_set))
    model = ranks.averaging(DeeplySupervised(state.network))
    logbook = Logbook(run, recipe, state, callbacks, writes=ranks.first)
    steps = range(state.step, recipe.steps)
    with closing(logbook), closing(stream_samples(samples, steps, indices, workers)) as batches:
        while state.step < recipe.steps or (held_out and state.validation_due(recipe)):
            if ranks.any(callbacks.stop()):
                logbook.save()
                break
            started = time.perf_counter()

            # A validation that a request to stop cut off is still due when the run continues.
            if held_out and state.validation_due(recipe):
                found = validate(state.network, spec, held_out, ranks, callbacks.stop, recipe.validation.pictured_cases)
                if found is not None:
                    score = mean_score([case.dice for case in found], spec.label_set)
                    state.standing = state.standing.after(state.step, score.score, recipe.validation.mean_keeps)
                    logbook.validated(found, score, time.perf_counter() - started)
                continue

            # Samples depend on step and index only: a resumed run draws the same, with any number of processes.
            batch = next(batches)
            outcome = train_step(recipe, state, model, [sample.patch for sample in batch], ranks)
            if not math.isfinite(outcome.loss):
                logbook.save()
                raise save_bad_batch(run, state.step, outcome.own_loss, batch, ranks)
            entry = _entry(state, outcome, batch, ranks, time.perf_counter() - started)
            state.step += 1
            state.skipped += entry.skipped
            logbook.step(entry)
            if state.step % STEPS_PER_CHECKPOINT == 0 or state.step == recipe.steps:
                logbook.save()
    return state.network


def _cases(recipe: TrainingRecipe, store: Path, checked: Path) -> tuple[list[PreparedCase], list[PreparedCase]]:
    """The cases that train, and those that validate if the recipe asks for it."""
    held_out = read_store(store, "validation", remembered=checked) if recipe.validation.every_steps else []
    return read_store(store, with_unlabeled=recipe.unlabeled, remembered=checked), held_out


def _objects(recipe: TrainingRecipe, store: Path, folder: Path | None) -> list[TumorObject]:
    """The tumor objects that the recipe needs; none of them is from a validation case."""
    if recipe.cutmix:
        refuse_without_lesions(recipe.spec.label_set)
    if recipe.cutmix and folder is None:
        raise DatasetError("this recipe pastes tumor objects: name their folder, or set cutmix = false in a --config")
    if not recipe.cutmix and folder is not None:
        raise DatasetError(f"{folder}: this recipe pastes no tumor objects; set cutmix = true in a --config")
    if folder is None:
        return []
    return read_objects(folder, read_names(store, "validation"), recipe_key(recipe))


def _entry(state: State, outcome: StepResult, batch: Sequence[Sample], ranks: Ranks, seconds: float) -> StepEntry:
    """The journal entry of the step just taken; pastes are counted over all processes."""
    pasted, lost = ranks.totals([sum(sample.paste == fate for sample in batch) for fate in ("pasted", "lost")])
    return StepEntry(
        step=state.step,
        loss=outcome.loss,
        learning_rate=state.optimizer.param_groups[0]["lr"],
        gradient_norm=outcome.gradient_norm,
        seconds=seconds,
        skipped=not outcome.stepped,
        pasted=round(pasted),
        lost=round(lost),
    )
