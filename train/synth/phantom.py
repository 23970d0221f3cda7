"""A painted CT of an abdomen with every class at its place, without any symmetry.

The anatomy is drawn in a reference frame of 288 x 320 x 320 mm around the origin, in patient directions
(z toward superior, y toward posterior, x toward the patient's left), and stretched to fill the grid that is asked for.
"""

from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from flare_infer import labels
from flare_infer.errors import SpecError
from flare_infer.geometry import Shape, Spacing, triple_of_floats
from flare_infer.volume.volume import Axes, Placement, Volume
from train.synth.tissue import Axis, Mask, Point, ellipsoid

Grid: TypeAlias = tuple[Axis, Axis, Axis]

_EXTENT_MM: Final = (288.0, 320.0, 320.0)
LPS_AXES: Final[Axes] = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
"""Directions of the array axes (z, y, x) of whatever is painted: superior, posterior and left."""

_LUNG: Final = -850.0
_FAT: Final = -100.0
_MUSCLE: Final = 55.0
_BONE: Final = 450.0


class _Blob(NamedTuple):
    """An ellipsoid: its class, its brightness in a portal venous CT, its place and its semi-axes in mm."""

    code: int
    hounsfield: float
    center_zyx: Point
    radii_zyx: Point


class _Tube(NamedTuple):
    """A chain of points with a radius, in mm."""

    code: int
    hounsfield: float
    radius: float
    points_zyx: tuple[Point, ...]


# Painted in this order: later ones cover earlier ones.
_ORGANS: Final[tuple[_Blob | _Tube, ...]] = (
    _Blob(labels.LIVER, 110, (38, -2, -48), (64, 62, 60)),
    _Blob(labels.LIVER, 110, (52, -38, 4), (28, 26, 46)),
    _Blob(labels.STOMACH, 35, (42, -28, 52), (42, 30, 36)),
    _Blob(labels.SPLEEN, 120, (48, 34, 80), (44, 26, 22)),
    _Blob(labels.RIGHT_KIDNEY, 175, (-38, 44, -56), (46, 21, 24)),
    _Blob(labels.LEFT_KIDNEY, 175, (-22, 42, 58), (48, 21, 23)),
    _Tube(labels.ESOPHAGUS, 45, 9, ((150, 28, 3), (95, 22, 8), (68, -4, 30))),
    _Tube(labels.DUODENUM, 45, 10, ((4, -30, -13), (-6, -8, -38), (-52, 4, -40), (-66, 12, -8), (-58, 8, 22))),
    _Tube(labels.PANCREAS, 95, 10, ((-24, -2, -20), (-4, -13, 4), (8, 4, 34), (22, 24, 60))),
    _Tube(labels.AORTA, 165, 10, ((150, 36, 12), (-112, 32, 10))),
    _Tube(labels.INFERIOR_VENA_CAVA, 140, 11, ((92, 24, -16), (40, 32, -20), (-150, 34, -18))),
    _Blob(labels.RIGHT_ADRENAL_GLAND, 75, (22, 44, -36), (13, 11, 5)),
    _Blob(labels.LEFT_ADRENAL_GLAND, 75, (28, 40, 33), (13, 11, 5)),
    _Blob(labels.GALLBLADDER, 10, (-16, -44, -44), (24, 13, 13)),
    _Blob(labels.TUMOR, 60, (46, 0, -70), (16, 16, 16)),
)


def paint_phantom(
    rng: np.random.Generator, shape: Shape = (96, 128, 128), spacing_mm: Spacing = (3.0, 2.5, 2.5)
) -> tuple[Volume, Volume]:
    """Paint a portal venous CT of an abdomen and the label map that belongs to it.

    Organs are shifted by up to 3 mm and their sizes changed by up to 6 percent, as drawn from `rng`; the same state of
    `rng` gives the same voxels.

    Args:
        rng: source of shifts, sizes, bowel loops and noise.
        shape: number of voxels along (z, y, x).
        spacing_mm: distance between voxel centers along (z, y, x).

    Returns:
        The CT (int16, Hounsfield units) and its labels (uint8, every code of `labels.CODES` present), both with axes
        toward superior, posterior and left.

    Raises:
        SpecError: if the grid is so coarse that a class has no voxel.
    """
    lengths = [size * extent for size, extent in zip(shape, spacing_mm, strict=True)]
    z, y, x = (
        (((np.arange(size) + 0.5) / size - 0.5) * extent).astype(np.float32)
        for size, extent in zip(shape, _EXTENT_MM, strict=True)
    )
    grid: Grid = (z[:, None, None], y[None, :, None], x[None, None, :])
    image, cavity = _paint_body(rng, grid)
    codes = np.zeros(shape, dtype=np.uint8)
    for organ in _ORGANS:
        inside = _inside(rng, grid, organ) & cavity
        image[inside] = organ.hounsfield
        codes[inside] = organ.code
    # Swallowed air rises to the front of a patient who lies on the back.
    image[(codes == labels.STOMACH) & (grid[1] < -42)] = -800.0
    if missing := sorted(set(labels.CODES) - set(np.unique(codes).tolist())):
        names = ", ".join(labels.NAMES[code] for code in missing)
        raise SpecError(f"a grid of {shape} voxels has no room for {names}; ask for more voxels")

    image += rng.normal(0.0, 30.0, shape).astype(np.float32)
    blurred = np.clip(gaussian_filter(image, 0.6), -1024, 3071)
    origin = [-(length - step) / 2 for length, step in zip(lengths, spacing_mm, strict=True)]
    placement = Placement(spacing_mm=spacing_mm, origin_mm=(origin[2], origin[1], origin[0]), axes=LPS_AXES)
    return (
        Volume(array_zyx=np.round(blurred).astype(np.int16), placement=placement),
        Volume(array_zyx=codes, placement=placement),
    )


def _paint_body(rng: np.random.Generator, grid: Grid) -> tuple[npt.NDArray[np.float32], Mask]:
    """The unlabeled structures (air, fat, muscle, bone, lungs, heart, bowel) in HU, and the mask of the cavity."""
    z, y, x = grid
    image = np.full(np.broadcast_shapes(z.shape, y.shape, x.shape), -1000.0, dtype=np.float32)
    cavity = np.broadcast_to(_ellipse(y, x, 82, 118), image.shape)
    image[np.broadcast_to(_ellipse(y, x, 112, 146), image.shape)] = _FAT
    image[np.broadcast_to(_ellipse(y, x, 96, 132), image.shape)] = _MUSCLE
    ribs = _ellipse(y, x, 92, 128) & ~_ellipse(y, x, 85, 121) & ((z + 0.5 * y) % 32 < 11) & (z + 0.3 * y > -40)
    image[ribs] = _BONE
    image[cavity] = _FAT

    # The lungs reach lowest at the rim, where the diaphragm slopes down.
    image[cavity & (z > 104 - 60 * ((y / 82) ** 2 + (x / 118) ** 2))] = _LUNG
    image[cavity & _ellipse(y, x, 56, 34) & (z > 70)] = 40.0
    image[ellipsoid(grid, (146, -22, 22), (44, 42, 48)) & cavity] = 140.0
    for _ in range(10):
        loop = (rng.uniform(-140, -75), rng.uniform(-60, -10), rng.uniform(-80, 80))
        image[ellipsoid(grid, loop, (18, 16, 20)) & cavity] = rng.uniform(20, 60)

    for side in (-34, 34):
        image[np.broadcast_to(_ellipse(y - 62, x - side, 16, 13), image.shape) & (z < 10)] = _MUSCLE
    vertebra = np.broadcast_to(_ellipse(y - 66, x, 20, 24), image.shape)
    image[vertebra] = 220.0
    image[vertebra & (z % 36 < 7)] = 85.0
    image[np.broadcast_to(_ellipse(y - 94, x, 20, 9), image.shape)] = _BONE
    image[np.broadcast_to(_ellipse(y - 92, x, 9, 9), image.shape)] = 35.0
    return image, cavity & ~vertebra


def _inside(rng: np.random.Generator, grid: Grid, organ: _Blob | _Tube) -> Mask:
    """The voxels of an organ, shifted and sized as drawn from `rng`."""
    shift, size = rng.uniform(-3.0, 3.0, 3), rng.uniform(0.94, 1.06)
    if isinstance(organ, _Blob):
        center, radii = np.add(organ.center_zyx, shift), np.multiply(organ.radii_zyx, size)
        return ellipsoid(grid, triple_of_floats(center.tolist()), radii.tolist())
    points = np.add(organ.points_zyx, shift)
    inside = np.zeros(np.broadcast_shapes(*(axis.shape for axis in grid)), dtype=np.bool_)
    for start, end in pairwise(points):
        inside |= _near_segment(grid, start, end, organ.radius * size)
    return inside


def _ellipse(y: npt.NDArray[np.float32], x: npt.NDArray[np.float32], radius_y: float, radius_x: float) -> Mask:
    return np.asarray((y / radius_y) ** 2 + (x / radius_x) ** 2 <= 1)


def _near_segment(grid: Grid, start: npt.NDArray[np.float64], end: npt.NDArray[np.float64], radius: float) -> Mask:
    """The voxels nearer than `radius` to the segment between two points."""
    along = (end - start).astype(np.float32)
    offsets = [axis - np.float32(origin) for axis, origin in zip(grid, start, strict=True)]
    way = sum(offset * step for offset, step in zip(offsets, along, strict=True)) / np.dot(along, along)
    way = np.clip(way, 0, 1)
    return np.asarray(sum((offset - way * step) ** 2 for offset, step in zip(offsets, along, strict=True)) <= radius**2)
