"""The Dice similarity coefficient (DSC) of each class, with the challenge's rules for empty masks."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_eval.label_map import label_codes
from flare_infer import labels
from flare_infer.errors import ImageError

_NUMBER_OF_CODES: Final = len(labels.NAMES)


def dice(prediction_zyx: npt.NDArray[Any], reference_zyx: npt.NDArray[Any], code: int) -> float:
    """DSC of one class, 0..1; see `dice_per_class`, which is as fast for all of them."""
    return dice_per_class(prediction_zyx, reference_zyx, (code,))[code]


def dice_per_class(
    prediction_zyx: npt.NDArray[Any], reference_zyx: npt.NDArray[Any], codes: Iterable[int]
) -> dict[int, float]:
    """DSC of each of `codes`, 0..1, from two label maps of one shape.

    DSC = 2 |P and R| / (|P| + |R|). A class that both maps lack scores 1; one that exactly one of them lacks scores 0.

    Raises:
        ImageError: if the shapes differ or a value is no label code.
    """
    counts = _pair_counts(label_codes(prediction_zyx, "prediction"), label_codes(reference_zyx, "reference"))
    return {code: _dice_of(counts, code) for code in codes}


def dice_of_masks(prediction_zyx: npt.NDArray[np.bool_], reference_zyx: npt.NDArray[np.bool_]) -> float:
    """DSC of two boolean masks of one shape, 0..1; NaN if both are empty."""
    voxels_in_both = np.count_nonzero(prediction_zyx) + np.count_nonzero(reference_zyx)
    if voxels_in_both == 0:
        return float("nan")
    return 2 * np.count_nonzero(prediction_zyx & reference_zyx) / voxels_in_both


def _pair_counts(prediction_zyx: npt.NDArray[np.uint8], reference_zyx: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """How many voxels have each pair of codes: entry [r, p] counts those with reference r and prediction p."""
    if prediction_zyx.shape != reference_zyx.shape:
        raise ImageError(f"expected equal shapes, prediction {prediction_zyx.shape}, reference {reference_zyx.shape}")
    counts = np.zeros(_NUMBER_OF_CODES**2, dtype=np.intp)
    # One slice at a time: bincount needs 8 bytes a voxel, 2 MB for a slice of 512 x 512 but 2 GB for a thousand.
    for prediction_yx, reference_yx in zip(prediction_zyx, reference_zyx, strict=True):
        pairs = reference_yx.astype(np.intp) * _NUMBER_OF_CODES + prediction_yx
        counts += np.bincount(pairs.ravel(), minlength=counts.size)
    return counts.reshape(_NUMBER_OF_CODES, _NUMBER_OF_CODES)


def _dice_of(counts: npt.NDArray[np.intp], code: int) -> float:
    voxels_in_both_maps = int(counts[code, :].sum() + counts[:, code].sum())
    if voxels_in_both_maps == 0:
        return 1.0
    return 2 * int(counts[code, code]) / voxels_in_both_maps
