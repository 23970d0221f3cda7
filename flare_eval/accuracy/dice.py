"""The Dice similarity coefficient (DSC) of two masks."""

import numpy as np
import numpy.typing as npt

from flare_infer.errors import ImageError


def dice_of_masks(prediction_zyx: npt.NDArray[np.bool_], reference_zyx: npt.NDArray[np.bool_]) -> float:
    """DSC of two boolean masks of one shape, 0..1: 2 |P and R| / (|P| + |R|); NaN if both are empty.

    Raises:
        ImageError: if the shapes differ.

    Example:
        >>> float(dice_of_masks(np.array([True, True, True, False]), np.array([True, False, False, False])))
        0.5
    """
    if prediction_zyx.shape != reference_zyx.shape:
        raise ImageError(f"expected equal shapes, prediction {prediction_zyx.shape}, reference {reference_zyx.shape}")
    voxels_in_both = np.count_nonzero(prediction_zyx) + np.count_nonzero(reference_zyx)
    if voxels_in_both == 0:
        return float("nan")
    return 2 * np.count_nonzero(prediction_zyx & reference_zyx) / voxels_in_both
