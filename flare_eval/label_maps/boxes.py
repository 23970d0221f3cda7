"""Where the classes of label maps lie: bounding boxes, so that a small organ costs little in a large scan."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_infer import labels
from flare_infer.geometry import Slices


def joint_boxes(prediction_zyx: npt.NDArray[np.uint8], reference_zyx: npt.NDArray[np.uint8]) -> dict[int, Slices]:
    """The smallest box that holds a class in both label maps, by code; a class that both lack has none."""
    of_prediction = ndimage.find_objects(prediction_zyx, max_label=labels.CODES[-1])
    of_reference = ndimage.find_objects(reference_zyx, max_label=labels.CODES[-1])
    boxes = {}
    for code, one, other in zip(labels.CODES, of_prediction, of_reference, strict=True):
        if one is not None or other is not None:
            boxes[code] = joint(one or other, other or one)
    return boxes


def box_of(mask_zyx: npt.NDArray[Any]) -> Slices | None:
    """The smallest box that holds all that is true in a mask; None if nothing is."""
    in_z = np.flatnonzero(mask_zyx.any(axis=(1, 2)))
    if not in_z.size:
        return None
    z = slice(int(in_z[0]), int(in_z[-1]) + 1)
    plane: npt.NDArray[np.bool_] = np.asarray(mask_zyx[z].any(axis=0))
    in_y, in_x = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    return z, slice(int(in_y[0]), int(in_y[-1]) + 1), slice(int(in_x[0]), int(in_x[-1]) + 1)


def joint(one: Slices, other: Slices) -> Slices:
    """The smallest box that holds two others."""
    z, y, x = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return z, y, x
