"""Whether intensities look like Hounsfield units; no more than a doubt can be told from them."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

_COARSE: Final = 4
"""Every so manieth voxel along each axis is looked at first: in nearly any CT one of them is air or fat."""


def intensity_doubts(array_zyx: npt.NDArray[Any]) -> tuple[str, ...]:
    """What speaks against Hounsfield units, a line each: no negative value at all, or no number at all.

    Air is -1000 HU and fat about -100, so a CT of a patient has negative values. Scanners store pixels with an
    offset of 1024 in unsigned integers; a conversion that lost the offset leaves air at 0 and water at 1024.
    """
    for looked_at in (array_zyx[::_COARSE, ::_COARSE, ::_COARSE], array_zyx):
        lowest = float(np.fmin.reduce(looked_at, axis=None))
        if lowest < 0:
            return ()
    if np.isnan(lowest):
        return ("no voxel holds a number; all count as air",)
    highest = float(np.fmax.reduce(array_zyx, axis=None))
    return (
        f"no voxel is below 0 (values from {lowest:g} to {highest:g}), as if these were no Hounsfield units; if air is "
        "0 and water 1024, subtract 1024 and segment again",
    )
