"""The abdominal region of a case: where a tumor may be pasted."""

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Slices
from flare_infer.labels import ORGANS


def abdominal_region(labels_zyx: npt.NDArray[np.uint8]) -> Slices | None:
    """Bounding box of all organ labels, whether experts drew them or a model; None without any."""
    organs = np.isin(labels_zyx, ORGANS)
    parts = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        (where,) = np.nonzero(organs.any(axis=others))
        if not len(where):
            return None
        parts.append(slice(int(where[0]), int(where[-1]) + 1))
    return parts[0], parts[1], parts[2]
