"""Triples of numbers along the axes (z, y, x), and the arithmetic of grids.

The one axis convention of the house: arrays are indexed (z, y, x), channels come first. Only `volume_io` knows another.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

from flare_infer.errors import SpecError

if TYPE_CHECKING:
    import numpy.typing as npt

Shape: TypeAlias = tuple[int, int, int]
"""Number of voxels along (z, y, x)."""

Spacing: TypeAlias = tuple[float, float, float]
"""Distance between voxel centers along (z, y, x), in mm."""


class Box(NamedTuple):
    """A box of voxels, as slices along (z, y, x): it indexes an array, and knows the arithmetic of boxes.

    Each slice has a start and a stop in voxels. A box may reach beyond a grid until it is clipped, and may be empty.

    Example:
        >>> box = Box.at((2, 0, 5), (3, 4, 4))
        >>> box.stops, box.grown((1, 1, 1), (9, 9, 9)).shape
        ((5, 4, 9), (5, 5, 5))
        >>> text = [list("abcdef")] * 3
        >>> [row[box.z] for row in text[:1]]
        [['c', 'd', 'e']]
    """

    z: slice
    y: slice
    x: slice

    @classmethod
    def at(cls, starts: Sequence[int], shape: Sequence[int]) -> Self:
        """The box of a given shape that begins at a voxel."""
        z, y, x = (slice(int(start), int(start + length)) for start, length in zip(starts, shape, strict=True))
        return cls(z, y, x)

    @classmethod
    def between(cls, starts: Sequence[int], stops: Sequence[int]) -> Self:
        """The box from a voxel to another one, which it does not hold."""
        z, y, x = (slice(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True))
        return cls(z, y, x)

    @classmethod
    def around(cls, mask_zyx: "npt.NDArray[Any]") -> Self | None:
        """The smallest box that holds all that is true in a mask (z, y, x); None if nothing is."""
        import numpy as np  # not before a mask is there

        in_z = np.flatnonzero(mask_zyx.any(axis=(1, 2)))
        if not in_z.size:
            return None
        plane_yx = np.asarray(mask_zyx[in_z[0] : in_z[-1] + 1].any(axis=0))
        in_y, in_x = np.flatnonzero(plane_yx.any(axis=1)), np.flatnonzero(plane_yx.any(axis=0))
        return cls.between((in_z[0], in_y[0], in_x[0]), (in_z[-1] + 1, in_y[-1] + 1, in_x[-1] + 1))

    @property
    def starts(self) -> Shape:
        """Index (z, y, x) of the first voxel."""
        return self.z.start, self.y.start, self.x.start

    @property
    def stops(self) -> Shape:
        """Index (z, y, x) of the first voxel behind the box, along each axis."""
        return self.z.stop, self.y.stop, self.x.stop

    @property
    def shape(self) -> Shape:
        """Number of voxels along (z, y, x); 0 along an axis on which the box is empty."""
        return triple_of_ints([max(0, part.stop - part.start) for part in self])

    @property
    def is_empty(self) -> bool:
        """Whether the box holds no voxel."""
        return 0 in self.shape

    def moved(self, steps: Sequence[int]) -> Self:
        """The same box some voxels farther along (z, y, x)."""
        return self.between(
            [start + step for start, step in zip(self.starts, steps, strict=True)],
            [stop + step for stop, step in zip(self.stops, steps, strict=True)],
        )

    def seen_from(self, outer: "Box") -> Self:
        """The same box in the coordinates of the voxels of another one."""
        return self.moved([-start for start in outer.starts])

    def grown(self, margins: Sequence[int], shape: Sequence[int]) -> Self:
        """The box with a margin of voxels on both sides along (z, y, x), as far as a grid of a given shape reaches."""
        return self.between(
            [max(0, start - margin) for start, margin in zip(self.starts, margins, strict=True)],
            [min(size, stop + margin) for stop, margin, size in zip(self.stops, margins, shape, strict=True)],
        )

    def overlap(self, other: "Box") -> Self:
        """The voxels that lie in both boxes; see `is_empty`."""
        return self.between(
            [max(one, two) for one, two in zip(self.starts, other.starts, strict=True)],
            [min(one, two) for one, two in zip(self.stops, other.stops, strict=True)],
        )

    def joined(self, other: "Box") -> Self:
        """The smallest box that holds both."""
        return self.between(
            [min(one, two) for one, two in zip(self.starts, other.starts, strict=True)],
            [max(one, two) for one, two in zip(self.stops, other.stops, strict=True)],
        )


def triple_of_ints(values: Sequence[int]) -> Shape:
    """Three integers as a tuple of exactly that length.

    Raises:
        SpecError: if there are not three.
    """
    if len(values) != 3:
        raise SpecError(f"expected three numbers along z, y, x, found {list(values)}")
    return int(values[0]), int(values[1]), int(values[2])


def triple_of_floats(values: Sequence[float]) -> Spacing:
    """Three floats as a tuple of exactly that length.

    Raises:
        SpecError: if there are not three.
    """
    if len(values) != 3:
        raise SpecError(f"expected three numbers along z, y, x, found {list(values)}")
    return float(values[0]), float(values[1]), float(values[2])


def resampled_shape(shape: Shape, spacing_mm: Spacing, target_spacing_mm: Spacing) -> Shape:
    """Shape of the grid that covers the same field of view at another spacing.

    Each length is rounded to the nearest voxel, at least one, as nnU-Net does.

    Example:
        >>> resampled_shape((100, 512, 512), (5.0, 0.8, 0.8), (2.5, 1.6, 1.6))
        (200, 256, 256)
    """
    lengths = [
        max(1, round(size * old / new)) for size, old, new in zip(shape, spacing_mm, target_spacing_mm, strict=True)
    ]
    return triple_of_ints(lengths)


def steps_apart(spacing_mm: Spacing, distance_mm: float) -> Shape:
    """Voxels from sample to sample along (z, y, x), at least one, so that samples lie about `distance_mm` apart."""
    return triple_of_ints([max(1, round(distance_mm / spacing)) for spacing in spacing_mm])


def voxel_volume_ml(spacing_mm: Spacing) -> float:
    """Volume of one voxel in milliliters."""
    return spacing_mm[0] * spacing_mm[1] * spacing_mm[2] / 1000.0
