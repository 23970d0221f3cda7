"""Any orientation to the model's axes, and back.

Most models see every patient in LPS: array axes (z, y, x) run toward superior, posterior and left. Only whole axes are
permuted and flipped, so no voxel value changes; an oblique volume keeps its small rotation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Box, Shape, triple_of_floats, triple_of_ints
from flare_infer.model.spec import Orientation
from flare_infer.volume.volume import Placement, Volume

_TOWARD_LPS: Final[dict[Orientation, tuple[int, int, int]]] = {"LPS": (1, 1, 1), "RAS": (1, -1, -1)}
"""Whether axes (z, y, x) of an orientation run along the patient's axes (S, P, L) or against them."""


@dataclass(frozen=True, kw_only=True)
class Reorientation:
    """How a volume was turned.

    Attributes:
        order: for each axis of the result, the axis of the source it came from.
        flipped: axes of the result that run against the source's.
    """

    order: tuple[int, int, int]
    flipped: tuple[int, ...]

    def view(self, native_zyx: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array of the source's axes as the result's see it, in the same memory: what is written to it lands there.

        `undo(turned)` equals an array filled by `view(array)[:] = turned`.
        """
        return np.flip(native_zyx.transpose(self.order), self.flipped)

    def undo(self, turned_zyx: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn an array of the result's axes back to those of the source, as a contiguous array."""
        return np.ascontiguousarray(np.flip(turned_zyx, self.flipped).transpose(np.argsort(self.order)))

    def undo_indices(self, indices: npt.NDArray[np.int64], turned: Shape) -> npt.NDArray[np.int64]:
        """Voxels (n, 3) of the result, whose shape is `turned`, as indices of the source."""
        native = np.empty_like(indices)
        for axis, source in enumerate(self.order):
            along = indices[:, axis]
            native[:, source] = turned[axis] - 1 - along if axis in self.flipped else along
        return native

    def undo_box(self, box: Box, turned: Shape) -> Box:
        """A box of the result, whose shape is `turned`, as a box of the source."""
        native = [slice(0)] * len(box)
        for axis, source in enumerate(self.order):
            start, stop = box[axis].start, box[axis].stop
            flipped = slice(turned[axis] - stop, turned[axis] - start)
            native[source] = flipped if axis in self.flipped else slice(start, stop)
        return Box(*native)

    def turned_shape(self, native: Sequence[int]) -> Shape:
        """Lengths along the result's axes of what has these along the source's."""
        return triple_of_ints([native[axis] for axis in self.order])


def turn(
    volume: Volume, orientation: Orientation, transpose: tuple[int, int, int] = (0, 1, 2)
) -> tuple[Volume, Reorientation]:
    """Turn a volume to a model's axes.

    Args:
        volume: volume in any orientation.
        orientation: toward which sides the axes (x, y, z) should run; "as_stored" leaves them.
        transpose: then the order in which they become the result's, as in `ModelSpec`.

    Returns:
        the turned volume (a view of the same memory, with its own placement) and the way back.
    """
    axes = np.asarray(volume.placement.axes, dtype=np.float64)
    order: tuple[int, ...] = (0, 1, 2)
    flipped = [False, False, False]
    if orientation != "as_stored":
        wanted = (2, 1, 0)  # the LPS component along which result axes z, y, x should point, or against which
        order = max(
            permutations(range(3)),
            key=lambda candidate: sum(abs(axes[source, lps]) for source, lps in zip(candidate, wanted, strict=True)),
        )
        toward = _TOWARD_LPS[orientation]
        flipped = [bool(axes[order[axis], wanted[axis]] * toward[axis] < 0) for axis in range(3)]
    way_back = Reorientation(
        order=triple_of_ints([order[axis] for axis in transpose]),
        flipped=tuple(axis for axis, before in enumerate(transpose) if flipped[before]),
    )
    return Volume(array_zyx=way_back.view(volume.array_zyx), placement=_turn(volume, way_back)), way_back


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
