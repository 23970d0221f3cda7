"""How much work and disk a stage takes: an estimate from numbers of cases and steps, for people to plan with.

Every number here is either measured on a machine that a report names, or taken from the paper; none is more than that.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from flare_infer.geometry import Spacing
from flare_infer.model.spec import ModelSpec
from train.recipes.recipe import TrainingRecipe

SCAN_MM: Final = (400.0, 410.0, 410.0)
"""Extent of an average scan along (z, y, x): an assumption."""

GPU_FLOPS: Final = 2.2e13
"""Operations a second while training, from the paper's 24 hours for 300,000 steps of the coarse model (Table 2)."""

CPU_FLOPS: Final = 1.9e11
"""The same on two cores of a server: a step of `lite` takes 1.1 s there."""

_STEP_FORWARDS: Final = 3
"""A backward pass costs twice a forward pass."""

_FLOP_PER_WORK: Final = 16.5
"""Operations of a plain U-Net of two convolutions a stage for each unit of `ModelSpec.window_work`: 538 / 32.6."""

_LABEL_MAP_BYTES: Final = 0.5e6
_STORED_BYTES_PER_VOXEL: Final = 0.65  # benchmarks/results/store.md: 11 MB of 222 x 273 x 273, 32 MB of 222 x 500 x 500
_READ_SECONDS: Final = 4.0
_PREPARE_SECONDS_PER_VOXEL: Final = 1.2e-7  # the same report, read and resampled
_OBJECTS_SECONDS: Final = 6.0
_OBJECTS_BYTES: Final = 3e6
_PREDICT_OVERHEAD_SECONDS: Final = 3.0
_COMPARE_SECONDS: Final = 2.0
_SCORE_SECONDS: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Amount:
    """An estimate.

    Attributes:
        seconds: it takes.
        disk_bytes: it leaves.
        steps: of training, where the seconds are those of steps; a run that has begun knows better how long each takes.
    """

    seconds: float = 0.0
    disk_bytes: float = 0.0
    steps: int = 0


def of_fit(recipe: TrainingRecipe, flops: float, gpus: int, validation: int) -> Amount:
    """Training: forward and backward of every patch, validations, and checkpoints of weights and momenta."""
    work = recipe.steps * recipe.batch * _STEP_FORWARDS * _window_flop(recipe.spec)
    validations = recipe.validation.count(0, recipe.steps) * of_predict(validation, recipe.spec, flops).seconds
    checkpoints = (2 + 1) * 4 * _parameters(recipe.spec)
    return Amount(seconds=(work / flops + validations) / gpus, disk_bytes=checkpoints, steps=recipe.steps)


def of_export(recipe: TrainingRecipe) -> Amount:
    """Writing the weights."""
    return Amount(seconds=5.0, disk_bytes=4 * _parameters(recipe.spec))


def of_prepare(cases: int, spec: ModelSpec, workers: int) -> Amount:
    """Reading, resampling and storing cases."""
    voxels = math.prod(_shape(spec.spacing_mm))
    seconds = cases * (_READ_SECONDS + voxels * _PREPARE_SECONDS_PER_VOXEL) / workers
    return Amount(seconds=seconds, disk_bytes=cases * voxels * _STORED_BYTES_PER_VOXEL)


def of_predict(cases: int, spec: ModelSpec, flops: float) -> Amount:
    """Every window of every case, none skipped."""
    steps = [
        math.ceil(max(0, length - size) / (spec.window_step * size)) + 1
        for length, size in zip(_shape(spec.spacing_mm), spec.patch, strict=True)
    ]
    seconds = cases * (_PREDICT_OVERHEAD_SECONDS + math.prod(steps) * _window_flop(spec) / flops)
    return Amount(seconds=seconds, disk_bytes=cases * _LABEL_MAP_BYTES)


def of_objects(cases: int, workers: int) -> Amount:
    """Cutting out the tumors of cases."""
    return Amount(seconds=cases * _OBJECTS_SECONDS / workers, disk_bytes=cases * _OBJECTS_BYTES)


def of_label_maps(cases: int, workers: int) -> Amount:
    """Reading and writing a label map of each case."""
    return Amount(seconds=cases * _READ_SECONDS / workers, disk_bytes=cases * _LABEL_MAP_BYTES)


def of_comparison(cases: int, folders: int, workers: int) -> Amount:
    """Comparing the label maps of several folders."""
    return Amount(seconds=cases * folders * _COMPARE_SECONDS / workers)


def of_score(cases: int, workers: int) -> Amount:
    """DSC and NSD of every class."""
    return Amount(seconds=cases * _SCORE_SECONDS / workers)


def _window_flop(spec: ModelSpec) -> float:
    return _FLOP_PER_WORK * spec.window_work


def _shape(spacing_mm: Spacing) -> tuple[int, ...]:
    return tuple(round(extent / spacing) for extent, spacing in zip(SCAN_MM, spacing_mm, strict=True))


def _parameters(spec: ModelSpec) -> float:
    """About: two convolutions a stage on the way down and two on the way up."""
    features, kernels = spec.network.features, spec.network.kernels
    down = sum((before + after) * after for before, after in pairwise((1, *features)))
    up = sum(3 * finer * finer + finer * coarser for finer, coarser in pairwise(features))
    return math.prod(kernels[0]) * (down + up)
