"""Normalization from the foreground of the training set, as in nnU-Net (docs/paper.md, Normalization)."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from flare_infer.errors import SpecError
from flare_infer.labels import BACKGROUND, IGNORED
from flare_infer.model.spec import Normalization
from train.dataset.cases import Case, expert_cases
from train.dataset.clean import CleaningRules
from train.dataset.training_voxels import training_voxels
from train.problems import raise_if_any
from train.store.store import known_recipes
from train.workers import try_each

VOXELS_PER_CASE: Final = 10_000
"""Number of foreground voxels taken from each case, evenly spread, so that every case has the same weight."""

_LOW_PERCENT: Final = 0.5
_HIGH_PERCENT: Final = 99.5


def foreground_normalization(
    cases: Sequence[Case],
    workers: int = 1,
    progress: Callable[[], None] = lambda: None,
    cleaning: CleaningRules | None = None,
) -> Normalization:
    """Clip to the percentiles 0.5 and 99.5 of the labeled voxels, standardize by their mean and deviation.

    Values are taken on the scans' own grids, from neither validation cases nor cases with pseudo labels only.

    Args:
        cases: all cases of the dataset.
        workers: number of processes.
        progress: callback after each case.
        cleaning: rules by which labels are cleaned first; None takes them as they are.

    Raises:
        ProblemsError: naming every case that cannot be used.
        SpecError: if there is no such voxel, or all have one value.
    """
    samples, problems = try_each(partial(_sample, cleaning=cleaning), expert_cases(list(cases)), workers, progress)
    raise_if_any(problems)
    values_hu = np.concatenate([np.zeros(0, dtype=np.float32), *(values for values in samples if values is not None)])
    if not len(values_hu):
        raise SpecError("no case that trains has labels of an expert to measure; take --normalization recipe")
    return normalization_of(values_hu)


def kept_normalization(store: Path) -> Normalization | None:
    """The normalization of the cases that a store holds already, finished or not; None if there are none."""
    found = next((recipe["normalization"] for recipe in known_recipes(store) if "normalization" in recipe), None)
    try:
        return None if found is None else Normalization(**found)
    except TypeError:  # damaged: preparing refuses it as another recipe's
        return None


def normalization_of(values_hu: npt.NDArray[np.float32]) -> Normalization:
    """The normalization for a sample of foreground values in Hounsfield units."""
    low, high = np.percentile(values_hu, (_LOW_PERCENT, _HIGH_PERCENT)).tolist()
    mean, std = float(np.mean(values_hu, dtype=np.float64)), float(np.std(values_hu, dtype=np.float64))
    return Normalization(clip_low_hu=low, clip_high_hu=high, mean_hu=mean, std_hu=std)


def sample_foreground(
    image_zyx: npt.NDArray[np.generic], labels_zyx: npt.NDArray[np.uint8], count: int
) -> npt.NDArray[np.float32]:
    """Values of at most `count` labeled voxels, evenly spread over all labeled voxels."""
    where = np.flatnonzero((labels_zyx != BACKGROUND) & (labels_zyx != IGNORED))
    chosen = where[np.linspace(0, len(where) - 1, min(count, len(where))).round().astype(np.intp)]
    return image_zyx[np.unravel_index(chosen, image_zyx.shape)].astype(np.float32)


def _sample(case: Case, cleaning: CleaningRules | None) -> npt.NDArray[np.float32]:
    voxels = training_voxels(case, cleaning)
    return sample_foreground(voxels.image.array_zyx, voxels.labels.array_zyx, VOXELS_PER_CASE)
