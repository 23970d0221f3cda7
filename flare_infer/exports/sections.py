"""Where a label map holds something, plane by plane."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage


class Section(NamedTuple):
    """The box of a class in a plane.

    Attributes:
        z: index of the plane.
        code: the class.
        box: rows and columns around it.
    """

    z: int
    code: int
    box: tuple[slice, slice]


def sections(labels_zyx: npt.NDArray[np.uint8], codes: frozenset[int]) -> Iterator[Section]:
    """Where some classes are, from plane to plane.

    Args:
        labels_zyx: label codes.
        codes: the classes.
    """
    for z, plane_yx in enumerate(labels_zyx):
        rows = np.flatnonzero(plane_yx.any(axis=1))
        if not rows.size:
            continue
        first = int(rows[0])
        for code, box in enumerate(ndimage.find_objects(plane_yx[first : rows[-1] + 1]), start=1):
            if box is not None and code in codes:
                in_y, in_x = box
                yield Section(z, code, (slice(in_y.start + first, in_y.stop + first), in_x))
