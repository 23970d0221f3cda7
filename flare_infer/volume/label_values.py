"""Whether voxels are codes of a label map, and no CT: the files of two folders are easily exchanged."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.errors import ImageError
from flare_infer.labels import BACKGROUND, CODES

_COARSE: Final = 8
"""Step along each axis between the voxels that are looked at first: in nearly any CT one of them is no code."""

_MOST_CODES: Final = 255
"""Label maps of other projects have more classes; none has codes beyond a byte."""


def refuse_label_map(scan: object, array_zyx: npt.NDArray[Any]) -> None:
    """Make sure that a scan to segment is no label map: that not all voxels are whole numbers from 0 to 14.

    A scan of nothing but zeros is none either. Values that are no numbers are passed over, unless there are no others.

    Raises:
        ImageError: if it is one; its text begins with the scan's own.
    """
    if (found := _codes_only(array_zyx, CODES[-1])) is None:
        return
    lowest, highest = found
    values = f"{lowest:g}" if lowest == highest else f"whole numbers from {lowest:g} to {highest:g}"
    raise ImageError(
        f"{scan}: is a label map, no CT: all voxels are {values}; name the folder of CTs first, then the one for label "
        "maps"
    )


def is_scan(array_zyx: npt.NDArray[Any]) -> bool:
    """Whether voxels cannot be those of any label map: fractions, negative numbers, or beyond a byte."""
    return _codes_only(array_zyx, _MOST_CODES) is None


def is_label_map(array_zyx: npt.NDArray[Any]) -> bool:
    """Whether all voxels are codes of this project's label maps."""
    return _codes_only(array_zyx, CODES[-1]) is not None


def _codes_only(array_zyx: npt.NDArray[Any], most: int) -> tuple[float, float] | None:
    """The least and the largest of voxels that are all codes up to some; None if one is not, or none is a number."""
    ranges = []
    # After a glance plane by plane: no second array of that size.
    for looked_at in (array_zyx[::_COARSE, ::_COARSE, ::_COARSE], *array_zyx):
        numbers = looked_at[~np.isnan(looked_at)] if looked_at.dtype.kind == "f" else looked_at
        if not numbers.size:
            continue
        lowest, highest = float(numbers.min()), float(numbers.max())
        if lowest < BACKGROUND or highest > most:
            return None
        if numbers.dtype.kind == "f" and (numbers != np.rint(numbers)).any():
            return None
        ranges.append((lowest, highest))
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None
