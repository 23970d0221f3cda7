"""Where a label map holds something: plane by plane, and class by class."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Box

_BITS: Final = 32
_EACH_BIT: Final = np.left_shift(np.uint32(1), np.arange(_BITS, dtype=np.uint32))


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
    for z, plane_yx in enumerate(labels_zyx):
        # Hardly more than a tenth of a plane is no background; only there the codes are told apart.
        labeled = plane_yx.any(axis=1)
        if not labeled.any():
            continue
        rows = _reach(labeled)
        columns = _reach(plane_yx[rows].any(axis=0))
        for code, (in_y, in_x) in _boxes(plane_yx[rows, columns]):
            yield Section(z, code, (_moved(in_y, rows.start), _moved(in_x, columns.start)))


def _boxes(codes_yx: npt.NDArray[np.uint8]) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Rows and columns of each code above 0; scipy finds them, too, and takes longer to import than this to run."""
    for first in range(0, int(codes_yx.max()) + 1, _BITS):
        # One bit for each code, none for codes of another group, so that all are looked for at the same time.
        bits = np.left_shift(np.uint32(1), codes_yx - np.uint8(first))
        in_rows, in_columns = (np.bitwise_or.reduce(bits, axis=axis) for axis in (1, 0))
        for bit in np.flatnonzero(np.bitwise_or.reduce(in_rows) & _EACH_BIT).tolist():
            if code := first + bit:
                yield code, (_reach(in_rows & _EACH_BIT[bit]), _reach(in_columns & _EACH_BIT[bit]))


def _reach(found: npt.NDArray[Any]) -> slice:
    """From the first to the last of what is not zero; something is."""
    places = np.flatnonzero(found)
    return slice(int(places[0]), int(places[-1]) + 1)


def _moved(part: slice, steps: int) -> slice:
    return slice(part.start + steps, part.stop + steps)


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
