"""Triples of numbers along the axes (z, y, x), and the arithmetic of grids.

The one axis convention of the house: arrays are indexed (z, y, x), channels come first. Only `volume_io` knows another.
"""

from collections.abc import Sequence
from typing import TypeAlias

from flare_infer.errors import SpecError

Shape: TypeAlias = tuple[int, int, int]
"""Number of voxels along (z, y, x)."""

Spacing: TypeAlias = tuple[float, float, float]
"""Distance between voxel centers along (z, y, x), in mm."""

Slices: TypeAlias = tuple[slice, slice, slice]
"""A box of voxels, as slices along (z, y, x)."""


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
