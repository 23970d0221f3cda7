"""A scan and its labels small enough for a page: fewer voxels, a byte each, compressed.

Gray values lie closer together where organs are (2.5 HU from -160 to 260) than elsewhere (about 25 HU). Along x the
differences of neighbors are stored, which compress better than the values. What is read stays as it is: no copy of the
scan is made, but of a few planes at a time.
"""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from flare_infer.geometry import Shape, Spacing, triple_of_floats, triple_of_ints
from flare_infer.volume.volume import Placement, Volume

FINEST_MM: Final = 1.5
MOST_VOXELS: Final = 20_000_000
"""Voxels are put together until they are about this far apart, and no more than this many."""

_KNOTS_HU: Final = (-1024, -160, 260, 1500)
_KNOTS_GRAY: Final = (0, 40, 208, 255)
_INTENSITIES: Final = 4096
_LEVEL: Final = 1  # of compression: the fastest that codes strings, too
_SEEN: Final = (0.5, 99.5)


@dataclass(frozen=True, kw_only=True)
class Shrunken:
    """What a page holds of a case.

    Attributes:
        shape: voxels along (z, y, x).
        steps: voxels of the scan, along (z, y, x), that became one.
        spacing_mm: distance between voxel centers along (z, y, x), in mm.
        affine: three rows of four: from indices (x, y, z, 1) to (right, anterior, superior), in mm.
        values: the intensity that each of the 256 gray values stands for, ascending.
        image: the gray values, differences along x, compressed (zlib), base64.
        labels: the label codes, compressed likewise.
    """

    shape: Shape
    steps: Shape
    spacing_mm: Spacing
    affine: tuple[tuple[float, ...], ...]
    values: tuple[float, ...]
    image: str
    labels: str


@dataclass(frozen=True, kw_only=True)
class _Grays:
    """How intensities become gray values: as `(intensity - lowest) * steps_each`, of which a table knows the gray."""

    lowest: float
    steps_each: float
    table: npt.NDArray[np.uint8]
    values: npt.NDArray[np.float64]


def shrink(scan: Volume, codes: Volume, in_hounsfield: bool) -> Shrunken:
    """Make a case small, in the orientation that it is stored in.

    Args:
        scan: the scan.
        codes: its label codes, uint8, on the same grid.
        in_hounsfield: whether intensities are Hounsfield units; if not, gray values are spread evenly from their 0.5th
            to their 99.5th percentile.
    """
    place = scan.placement
    steps = steps_for(scan.shape, place.spacing_mm)
    grays = _hounsfield() if in_hounsfield else _even(scan.array_zyx)
    return Shrunken(
        shape=triple_of_ints([size // step for size, step in zip(scan.shape, steps, strict=True)]),
        steps=steps,
        spacing_mm=triple_of_floats([mm * n for mm, n in zip(place.spacing_mm, steps, strict=True)]),
        affine=_affine(place, steps),
        values=tuple(grays.values.tolist()),
        image=_packed_image(scan.array_zyx, steps, grays),
        labels=_packed_labels(codes.array_zyx, steps),
    )


def steps_for(shape: Shape, spacing_mm: Spacing) -> Shape:
    """Voxels along (z, y, x) that become one, so that they are about 1.5 mm apart and not too many.

    Example:
        >>> steps_for((554, 512, 512), (1.0, 0.78, 0.78))
        (2, 2, 2)
    """
    steps = [min(size, max(1, round(FINEST_MM / mm))) for size, mm in zip(shape, spacing_mm, strict=True)]
    while math.prod(size // step for size, step in zip(shape, steps, strict=True)) > MOST_VOXELS:
        finest = min(
            range(3), key=lambda axis: steps[axis] * spacing_mm[axis] if steps[axis] < shape[axis] else math.inf
        )
        steps[finest] += 1
    return triple_of_ints(steps)


def _hounsfield() -> _Grays:
    table = np.round(np.interp(np.arange(_INTENSITIES) + _KNOTS_HU[0], _KNOTS_HU, _KNOTS_GRAY)).astype(np.uint8)
    values = np.interp(np.arange(256), _KNOTS_GRAY, _KNOTS_HU)
    return _Grays(lowest=_KNOTS_HU[0], steps_each=1.0, table=table, values=values)


def _even(image_zyx: npt.NDArray[Any]) -> _Grays:
    few = np.nan_to_num(image_zyx[tuple(slice(None, None, -(-size // 64)) for size in image_zyx.shape)])
    low, high = np.percentile(few, _SEEN).tolist()
    range_ = high - low or 1.0
    table = (np.arange(_INTENSITIES) // (_INTENSITIES // 256)).astype(np.uint8)
    return _Grays(
        lowest=low, steps_each=(_INTENSITIES - 1) / range_, table=table, values=np.linspace(low, low + range_, 256)
    )


def _packed_image(image_zyx: npt.NDArray[Any], steps: Shape, grays: _Grays) -> str:
    depth, rows, columns = steps
    height, width = (size // step * step for size, step in zip(image_zyx.shape[1:], steps[1:], strict=True))
    # Sums of up to eight numbers below 4096 fit 16 bits.
    sums = np.int16 if math.prod(steps) <= 8 else np.int32
    packer = isal_zlib.compressobj(_LEVEL)
    parts = []
    for first in range(0, image_zyx.shape[0] // depth * depth, depth):
        plane = np.zeros((height, width), dtype=sums)
        for z in range(first, first + depth):
            plane += _steps(image_zyx[z, :height, :width], grays)
        plane = reduce(np.add, [plane[row::rows] for row in range(rows)])
        plane = reduce(np.add, [plane[:, column::columns] for column in range(columns)])
        gray = grays.table.take(plane // math.prod(steps))
        differences = gray.copy()
        differences[:, 1:] -= gray[:, :-1]  # modulo 256
        parts.append(packer.compress(differences))
    return _base64([*parts, packer.flush()])


def _steps(plane_yx: npt.NDArray[Any], grays: _Grays) -> npt.NDArray[np.int16]:
    """A plane of intensities as whole numbers from 0 to 4095; what is no number becomes the lowest."""
    if np.issubdtype(plane_yx.dtype, np.integer) and grays.steps_each == 1.0:
        low = int(grays.lowest)
        kind = np.iinfo(plane_yx.dtype)
        clipped = np.clip(plane_yx, max(low, kind.min), min(low + _INTENSITIES - 1, kind.max))
        steps: npt.NDArray[np.int16] = clipped.astype(np.int16, copy=False)
        steps -= np.int16(low)
        return steps
    scaled = (plane_yx.astype(np.float32) - np.float32(grays.lowest)) * np.float32(grays.steps_each)
    if not np.isfinite(scaled.sum()):
        scaled = np.nan_to_num(scaled, nan=0.0, posinf=_INTENSITIES, neginf=0.0)
    rounded: npt.NDArray[np.int16] = (np.clip(scaled, 0, _INTENSITIES - 1) + np.float32(0.5)).astype(np.int16)
    return rounded


def _packed_labels(codes_zyx: npt.NDArray[np.uint8], steps: Shape) -> str:
    """Of the voxels that become one, the label of the middle one."""
    starts = [step // 2 for step in steps]
    stops = [size // step * step for size, step in zip(codes_zyx.shape, steps, strict=True)]
    few = codes_zyx[tuple(slice(*part) for part in zip(starts, stops, steps, strict=True))]
    return _base64([isal_zlib.compress(np.ascontiguousarray(few), _LEVEL)])


def _base64(parts: Sequence[bytes]) -> str:
    return base64.b64encode(b"".join(parts)).decode("ascii")


def _affine(placement: Placement, steps: Shape) -> tuple[tuple[float, ...], ...]:
    """From indices (x, y, z, 1) of the small grid to right, anterior, superior, in mm, as NIfTI wants it."""
    axes = np.asarray(placement.axes) * np.asarray(placement.spacing_mm)[:, None]  # rows z, y, x in LPS
    origin = np.asarray(placement.origin_mm) + (np.asarray(steps) - 1) / 2 @ axes
    columns = [*(axes * np.asarray(steps)[:, None])[::-1], origin]
    lps = np.stack(columns, axis=1)
    return tuple(tuple(row) for row in (lps * [[-1.0], [-1.0], [1.0]]).tolist())
