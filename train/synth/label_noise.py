"""False tumors in labels, by which data cleaning can be judged."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_infer import labels
from flare_infer.geometry import Shape, Spacing, triple_of_ints
from train.dataset.region import organ_box
from train.synth.tissue import Codes, Mask

FalseTumorKind = Literal["small", "outside"]

COLUMNS: Final = ("case", "kind", "voxels", "z", "y", "x")

_FAR_MM: Final = 28.0
_BALL_MM: Final = 11.0
_SMALLEST, _LARGEST = 2, 5


@dataclass(frozen=True, kw_only=True)
class FalseTumor:
    """A false tumor that was added to labels.

    Attributes:
        kind: `small`, a few voxels in the body; `outside`, a ball far from all organs.
        voxels: number of its voxels.
        middle: its middle in voxels (z, y, x).
    """

    kind: FalseTumorKind
    voxels: int
    middle: Shape


def add_false_tumors(
    labels_zyx: Codes, truth_zyx: Codes, body_zyx: Mask, spacing_mm: Spacing, rng: np.random.Generator
) -> tuple[Codes, list[FalseTumor]]:
    """Add one or two small false tumors, and one far from all organs if the scan has room for it.

    Args:
        labels_zyx: codes of the case's labels (z, y, x); not modified.
        truth_zyx: codes of its complete labels.
        body_zyx: mask of the body.
        spacing_mm: spacing of the grid along (z, y, x).
        rng: source of number, sizes and positions.

    Returns:
        the new labels, and the false tumors; none of them touches a labeled voxel or another false tumor.
    """
    noisy = labels_zyx.copy()
    found: list[FalseTumor] = []
    for _ in range(int(rng.integers(1, 3))):
        room = body_zyx & (ndimage.distance_transform_edt(noisy == labels.BACKGROUND) > _LARGEST)
        _add(noisy, found, "small", _chain(room, rng))
    ball = _far_ball(truth_zyx, spacing_mm, rng)
    if not (ndimage.binary_dilation(ball, np.ones((3, 3, 3))) & (noisy > 0)).any():
        _add(noisy, found, "outside", ball)
    return noisy, found


def _add(out: Codes, found: list[FalseTumor], kind: FalseTumorKind, mask: Mask) -> None:
    voxels = np.argwhere(mask)
    if len(voxels):
        out[mask] = labels.TUMOR
        middle = triple_of_ints(np.round(voxels.mean(axis=0)).astype(int).tolist())
        found.append(FalseTumor(kind=kind, voxels=len(voxels), middle=middle))


def _chain(room: Mask, rng: np.random.Generator) -> Mask:
    """Mask of two to five voxels in a row along an axis, the first of them in `room`."""
    mask = np.zeros_like(room)
    places = np.argwhere(room)
    if len(places):
        voxel = places[rng.integers(len(places))]
        axis, length = int(rng.integers(3)), int(rng.integers(_SMALLEST, _LARGEST, endpoint=True))
        start = min(int(voxel[axis]), room.shape[axis] - length)
        where: list[int | slice] = [int(index) for index in voxel]
        where[axis] = slice(start, start + length)
        mask[tuple(where)] = True
    return mask


def _far_ball(truth_zyx: Codes, spacing_mm: Spacing, rng: np.random.Generator) -> Mask:
    """Mask of a ball outside the enlarged box of the abdominal organs; empty if the scan has no room for one."""
    organs = np.isin(truth_zyx, labels.ORGANS)
    far = ndimage.distance_transform_edt(~organs, sampling=spacing_mm) > _FAR_MM + _BALL_MM
    if (box := organ_box(truth_zyx)) is not None:
        far[box.grown([int((_FAR_MM + _BALL_MM) / step) for step in spacing_mm], far.shape)] = False
    places_zyx = np.argwhere(far)
    if not len(places_zyx):
        return np.zeros(truth_zyx.shape, dtype=np.bool_)
    return _ball(truth_zyx.shape, places_zyx[rng.integers(len(places_zyx))], spacing_mm)


def _ball(shape: tuple[int, ...], middle: npt.NDArray[np.intp], spacing_mm: Spacing) -> Mask:
    offsets = [
        (np.arange(length) - int(index)) * step for length, index, step in zip(shape, middle, spacing_mm, strict=True)
    ]
    z, y, x = np.meshgrid(*offsets, indexing="ij", sparse=True)
    return np.asarray(z**2 + y**2 + x**2 <= _BALL_MM**2)
