"""The region of a case where lesions are plausible, and where one may be pasted: in the challenge the abdomen."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Box
from flare_infer.label_set import FLARE23, LabelSet


def organ_box(labels_zyx: npt.NDArray[np.uint8], codes: Collection[int] = FLARE23.region_codes) -> Box | None:
    """Bounding box of all voxels of some organs.

    Args:
        labels_zyx: codes (z, y, x).
        codes: codes of the organs; by default those of the challenge's abdominal region.

    Returns:
        the box; None if no voxel has one of these codes.
    """
    return Box.around(is_one_of(labels_zyx, codes))


def is_one_of(labels_zyx: npt.NDArray[np.uint8], codes: Collection[int]) -> npt.NDArray[np.bool_]:
    """Mask (z, y, x) of the voxels of some classes; on a whole scan a table is quicker than `np.isin`."""
    table = np.zeros(256, dtype=np.bool_)
    table[list(codes)] = True
    return table[labels_zyx]


def abdominal_region(
    labels_zyx: npt.NDArray[np.uint8], annotated: Collection[int] = FLARE23.organs, label_set: LabelSet = FLARE23
) -> Box | None:
    """Where a lesion may be pasted: the box of the organs of the region, whether experts drew them or a model.

    Args:
        labels_zyx: codes of a case (z, y, x).
        annotated: codes that the case annotates; if these hold no organ of the region, the box of the others is taken.
        label_set: the classes, and which of them bound the region.

    Returns:
        the box; None if none of these organs occurs.
    """
    region = label_set.region_codes
    return organ_box(labels_zyx, region if set(annotated) & set(region) else label_set.beyond_codes)
