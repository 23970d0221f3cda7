"""Where a label map holds something: plane by plane, and class by class."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Box


class Section(NamedTuple):
    """The box of a class in a plane.

    Attributes:
        z: index of the plane.
        code: the class, above 0.
        box: rows and columns around it.
    """

    z: int
    code: int
    box: tuple[slice, slice]


def sections_of(labels_zyx: npt.NDArray[np.uint8]) -> Iterator[Section]:
    """Where classes are, from plane to plane, and in each plane in the order of the codes.

    Args:
        labels_zyx: label codes.
    """
    from scipy import ndimage  # not before something is made beside a label map

    for z, plane_yx in enumerate(labels_zyx):
        # Hardly more than a tenth of a plane is no background; only there the codes are told apart.
        rows = np.flatnonzero(plane_yx.any(axis=1))
        if not rows.size:
            continue
        first = int(rows[0])
        for code, box in enumerate(ndimage.find_objects(plane_yx[first : rows[-1] + 1]), start=1):
            if box is not None:
                in_y, in_x = box
                yield Section(z, code, (slice(in_y.start + first, in_y.stop + first), in_x))


def boxes_of_classes(sections: Iterable[Section]) -> dict[int, list[Box]]:
    """The smallest boxes that hold all voxels of a class, for every class that is there, in the order of the codes.

    Where a plane without the class lies in between, a new box begins: no part of a class lies in two of them, and a
    voxel far off costs no more than itself.

    Args:
        sections: where classes are, from plane to plane.
    """
    boxes: dict[int, list[Box]] = {}
    for z, code, (in_y, in_x) in sections:
        its = Box(slice(z, z + 1), in_y, in_x)
        found = boxes.setdefault(code, [])
        if found and found[-1].z.stop == z:
            its = found.pop().joined(its)
        found.append(its)
    return dict(sorted(boxes.items()))
