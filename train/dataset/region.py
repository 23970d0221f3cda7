"""The abdominal region of a case: where tumors are plausible, and where one may be pasted."""

from collections.abc import Collection
from typing import Final

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Box
from flare_infer.labels import AORTA, ESOPHAGUS, INFERIOR_VENA_CAVA, ORGANS

TUBES: Final = (AORTA, INFERIOR_VENA_CAVA, ESOPHAGUS)
"""Codes of the organs that continue into the chest: a box around them would contain heart and lungs."""

REGION_ORGANS: Final = tuple(code for code in ORGANS if code not in TUBES)
"""Codes of the organs whose bounding box is the abdominal region."""


def organ_box(labels_zyx: npt.NDArray[np.uint8], codes: Collection[int] = REGION_ORGANS) -> Box | None:
    """Bounding box of all voxels of some organs.

    Args:
        labels_zyx: codes (z, y, x).
        codes: codes of the organs; by default those of the abdominal region.

    Returns:
        the box; None if no voxel has one of these codes.
    """
    return Box.around(is_one_of(labels_zyx, codes))


def is_one_of(labels_zyx: npt.NDArray[np.uint8], codes: Collection[int]) -> npt.NDArray[np.bool_]:
    """Mask (z, y, x) of the voxels of some classes; on a whole scan a table is quicker than `np.isin`."""
    table = np.zeros(256, dtype=np.bool_)
    table[list(codes)] = True
    return table[labels_zyx]


def abdominal_region(labels_zyx: npt.NDArray[np.uint8], annotated: Collection[int] = ORGANS) -> Box | None:
    """Where a tumor may be pasted: the box of REGION_ORGANS, whether experts drew them or a model.

    Args:
        labels_zyx: codes of a case (z, y, x).
        annotated: codes that the case annotates; if these hold no organ of the region, the box of the TUBES is taken.

    Returns:
        the box; None if none of these organs occurs.
    """
    return organ_box(labels_zyx, REGION_ORGANS if set(annotated) & set(REGION_ORGANS) else TUBES)
