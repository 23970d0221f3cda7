"""How large each class is: voxels of a label map to milliliters."""

from typing import Any

import numpy as np
import numpy.typing as npt

from flare_infer import labels
from flare_infer.errors import ImageError
from flare_infer.geometry import Spacing, voxel_volume_ml


def volumes_ml(labels_zyx: npt.NDArray[Any], spacing_mm: Spacing) -> dict[int, float]:
    """Volume of every class of a label map.

    Args:
        labels_zyx: label codes of an integer type; codes that `labels` does not know are passed over.
        spacing_mm: distance between voxel centers along (z, y, x), in mm.

    Returns:
        Code to milliliters, in the order of `labels.CODES`; 0.0 for a class that is absent.

    Raises:
        ImageError: if the codes are not of an integer type, or one is negative.
    """
    if not np.issubdtype(labels_zyx.dtype, np.integer):
        raise ImageError(f"expected label codes of an integer type, found {labels_zyx.dtype}; round them first")
    counts = np.zeros(len(labels.NAMES), dtype=np.int64)
    # Slice by slice: bincount turns what it counts into 8-byte integers, 2 GB at once for a label map of 1000 slices.
    for slice_yx in labels_zyx:
        if slice_yx.size and slice_yx.min() < 0:
            raise ImageError(f"expected label codes from 0, found {slice_yx.min()}; is this a label map?")
        counts += np.bincount(slice_yx.ravel(), minlength=counts.size)[: counts.size]
    voxel_ml = voxel_volume_ml(spacing_mm)
    return {code: float(counts[code] * voxel_ml) for code in labels.CODES}
