"""Where the classes of label maps lie: bounding boxes, so that a small organ costs little in a large scan."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_infer.geometry import Box
from flare_infer.labels import CODES


def joint_boxes(
    prediction_zyx: npt.NDArray[np.uint8], reference_zyx: npt.NDArray[np.uint8], codes: Sequence[int] = CODES
) -> dict[int, Box]:
    """The smallest box that holds a class in both label maps, by code; a class that both lack has none.

    `codes` are those of the label set, 1, 2, 3 and so on.
    """
    of_prediction = ndimage.find_objects(prediction_zyx, max_label=codes[-1])
    of_reference = ndimage.find_objects(reference_zyx, max_label=codes[-1])
    boxes = {}
    for code, one, other in zip(codes, of_prediction, of_reference, strict=True):
        if one is not None or other is not None:
            boxes[code] = Box(*(one or other)).joined(Box(*(other or one)))
    return boxes
