"""Masks and the voxels that touch them; scipy has it, and takes longer to import than this to run."""

import numpy as np
import numpy.typing as npt


def with_neighbors(mask_zyx: npt.NDArray[np.bool_], times: int = 1) -> npt.NDArray[np.bool_]:
    """The mask and all voxels that touch it, by a corner too; repeated a given number of times."""
    grown = mask_zyx.copy()
    for axis in range(grown.ndim):
        along = np.moveaxis(grown, axis, 0)
        for _ in range(times):
            before = along.copy()
            along[1:] |= before[:-1]
            along[:-1] |= before[1:]
    return grown
