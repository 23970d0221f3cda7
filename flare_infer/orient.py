"""Any orientation to the model's axes, and back.

The model sees every patient in LPS: array axes (z, y, x) run toward superior, posterior and left. Only whole axes are
permuted and flipped, so no voxel value changes; an oblique volume keeps its small rotation.
"""

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import triple_of_floats, triple_of_ints
from flare_infer.volume import Placement, Volume


@dataclass(frozen=True, kw_only=True)
class Reorientation:
    """How a volume was turned.

    Attributes:
        order: for each axis of the result, the axis of the source it came from.
        flipped: axes of the result that run against the source's.
    """

    order: tuple[int, int, int]
    flipped: tuple[int, ...]

    def undo(self, array_zyx: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn an array of the result's axes back to those of the source, as a contiguous array."""
        return np.ascontiguousarray(np.flip(array_zyx, self.flipped).transpose(np.argsort(self.order)))


def to_lps(volume: Volume) -> tuple[Volume, Reorientation]:
    """Turn a volume so that its axes (z, y, x) run closest to superior, posterior and left.

    Returns:
        the turned volume (a view of the same memory, with its own placement) and the way back.
    """
    axes = np.asarray(volume.placement.axes, dtype=np.float64)
    wanted = (2, 1, 0)  # the LPS component along which result axes z, y, x should point
    order = max(
        permutations(range(3)),
        key=lambda candidate: sum(abs(axes[source, lps]) for source, lps in zip(candidate, wanted, strict=True)),
    )
    flipped = tuple(axis for axis in range(3) if axes[order[axis], wanted[axis]] < 0)
    turned = np.flip(volume.array_zyx.transpose(order), flipped)
    way_back = Reorientation(order=triple_of_ints(order), flipped=flipped)
    return Volume(array_zyx=turned, placement=_turn(volume, way_back)), way_back


def _turn(volume: Volume, way: Reorientation) -> Placement:
    """Placement after turning: a flipped axis starts at what was its last voxel."""
    source = volume.placement
    axes = np.asarray(source.axes, dtype=np.float64)[list(way.order)]
    spacing = np.asarray(source.spacing_mm)[list(way.order)]
    lengths = np.asarray(volume.shape)[list(way.order)]
    origin = np.asarray(source.origin_mm, dtype=np.float64)
    for axis in way.flipped:
        origin = origin + axes[axis] * spacing[axis] * (lengths[axis] - 1)
        axes[axis] = -axes[axis]
    z, y, x = (triple_of_floats(row) for row in axes.tolist())
    return Placement(
        spacing_mm=triple_of_floats(spacing.tolist()), origin_mm=triple_of_floats(origin.tolist()), axes=(z, y, x)
    )
