"""Invented cases for the tests of the statistics: boxes and ellipsoids on grids of any spacing and orientation."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_infer import labels
from flare_infer.results.case import SegmentedCase
from flare_infer.volume.volume import Axes, Placement, Volume
from tests.tiny import LPS

Array = npt.NDArray[Any]


def placed(
    spacing_mm: tuple[float, float, float], axes: Axes = LPS, origin: tuple[float, float, float] = (0, 0, 0)
) -> Placement:
    return Placement(spacing_mm=spacing_mm, origin_mm=origin, axes=axes)


def case_of(
    labels_zyx: Array, scan_zyx: Array | None = None, placement: Placement | None = None, **more: Any
) -> SegmentedCase:
    """A case; without a scan every voxel has 50 HU, and the corner has air, so that no plane is taken for padding."""
    placement = placement or placed((1.0, 1.0, 1.0))
    if scan_zyx is None:
        scan_zyx = np.full(labels_zyx.shape, 50, dtype=np.int16)
        scan_zyx[::2, ::2, ::2] = 40
        scan_zyx[1::2, 1::2, 1::2] = 60
    fields = {"name": "phantom", "names": labels.NAMES} | more
    return SegmentedCase(
        scan=Volume(array_zyx=scan_zyx, placement=placement),
        labels=Volume(array_zyx=labels_zyx.astype(np.uint8), placement=placement),
        **fields,
    )


def boxes(shape: tuple[int, int, int], **parts: tuple[slice, slice, slice]) -> Array:
    """A label map of boxes, by the names of their classes, with underscores for spaces."""
    labels_zyx = np.zeros(shape, dtype=np.uint8)
    for name, box in parts.items():
        labels_zyx[box] = labels.NAMES.index(name.replace("_", " "))
    return labels_zyx


def ellipsoid(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    half_mm: tuple[float, float, float],
    turned: float = 0.0,
) -> Array:
    """Mask of an ellipsoid in the middle of a grid, turned by radians in the plane (y, x)."""
    z, y, x = np.meshgrid(
        *((np.arange(size) - (size - 1) / 2) * step for size, step in zip(shape, spacing_mm, strict=True)),
        indexing="ij",
    )
    along, across = x * np.cos(turned) + y * np.sin(turned), y * np.cos(turned) - x * np.sin(turned)
    mask: Array = (z / half_mm[0]) ** 2 + (across / half_mm[1]) ** 2 + (along / half_mm[2]) ** 2 <= 1
    return mask


def bright(labels_zyx: Array, hu: Mapping[str, int]) -> Array:
    """A scan in which each class has a density; fat elsewhere, with a little noise."""
    scan = np.random.default_rng(0).integers(-110, -90, labels_zyx.shape).astype(np.int16)
    for name, density in hu.items():
        scan[labels_zyx == labels.NAMES.index(name)] = density
    return scan
