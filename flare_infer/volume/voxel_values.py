"""A number at each of some voxels of a grid, where an array of the whole grid would be nearly empty."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Box, Spacing


@dataclass(frozen=True, kw_only=True)
class VoxelValues:
    """A number at each of some voxels; a voxel may be named more than once.

    Attributes:
        indices: index (z, y, x) of each of them, (n, 3).
        values: the numbers, (n,).
    """

    indices: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]

    def mean_inside(self, mask_zyx: npt.NDArray[np.bool_], box: Box) -> float | None:
        """Mean of the numbers inside a mask; None if there are none.

        Args:
            mask_zyx: the mask, of the shape of the box.
            box: where it lies in the grid.
        """
        local = self.indices - np.asarray(box.starts, dtype=np.int32)
        near = ((local >= 0) & (local < np.asarray(box.shape))).all(axis=1)
        inside = mask_zyx[tuple(local[near].T)]
        values = self.values[near][inside]
        return float(values.mean(dtype=np.float64)) if values.size else None

    def nearest(self, center_zyx: npt.NDArray[np.float64], spacing_mm: Spacing) -> float | None:
        """The number at the voxel that is nearest to a place; None if there are no voxels.

        Args:
            center_zyx: the place, in voxels.
            spacing_mm: distance between voxel centers along (z, y, x), in mm.
        """
        if not len(self.values):
            return None
        apart_mm = (self.indices - center_zyx) * np.asarray(spacing_mm)
        return float(self.values[int((apart_mm**2).sum(axis=1).argmin())])
