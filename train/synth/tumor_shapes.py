"""Shapes of tumors, from real label maps or invented, and their placement into the organs of an anatomy.

Maps of tumors alone do not show the surroundings, so only the shapes of their tumors are used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from scipy import ndimage

from flare_infer import labels
from flare_infer.errors import DatasetError
from flare_infer.formats.volume_io import read_volume
from flare_infer.geometry import Spacing, voxel_volume_ml
from flare_infer.volume.orient import turn
from train.dataset.components import components
from train.synth.anatomy import Anatomy
from train.synth.landmarks import has_class
from train.synth.tissue import Mask

HOSTS: Final = (labels.LIVER, *labels.KIDNEYS, labels.PANCREAS)
"""Codes of the organs in which tumors are painted."""

_STEP_MM: Final = 2.0
_LARGEST_PART: Final = 0.35
_TRIES: Final = 12


@dataclass(frozen=True, kw_only=True)
class TumorShape:
    """One tumor without its surroundings.

    Attributes:
        name: label map and number of the tumor that it comes from.
        mask_zyx: mask of its voxels (z, y, x), cubes of 2 mm.
        hosts: codes of the organs it may be placed into.
    """

    name: str
    mask_zyx: Mask
    hosts: tuple[int, ...]


def read_shapes(path: Path, code: int, hosts: tuple[int, ...], smallest_ml: float) -> list[TumorShape]:
    """The connected tumors of a label map; there may be none.

    Args:
        path: the label map.
        code: value of tumor in the label map.
        hosts: codes of the organs they may be placed into.
        smallest_ml: smallest volume in mL; smaller tumors are left out.

    Raises:
        DatasetError: if its values are no codes.
        ImageError: if it cannot be read.
    """
    volume, _ = turn(read_volume(path), "LPS")
    if volume.array_zyx.dtype.kind not in "iub":
        raise DatasetError(f"{path}: expected whole numbers as codes, found {volume.array_zyx.dtype}")
    spacing_mm = volume.placement.spacing_mm
    shapes = []
    for index, tumor in enumerate(components(volume.array_zyx, code), start=1):
        if tumor.voxels * voxel_volume_ml(spacing_mm) >= smallest_ml:
            resampled = _resampled(tumor.mask_zyx, [step / _STEP_MM for step in spacing_mm])
            shapes.append(TumorShape(name=f"{path.name}#{index}", mask_zyx=resampled, hosts=hosts))
    return shapes


def invent_shape(rng: np.random.Generator, hosts: tuple[int, ...] = HOSTS) -> TumorShape:
    """A round tumor of 7 to 20 mm radius with an uneven surface."""
    radius = rng.uniform(7, 20) / _STEP_MM
    half = int(np.ceil(radius * 1.6))
    z, y, x = np.meshgrid(*(np.arange(-half, half + 1),) * 3, indexing="ij")
    uneven = ndimage.gaussian_filter(rng.standard_normal(z.shape), radius / 2)
    distance = np.sqrt(z**2 + y**2 + x**2) * (1 + 0.18 * uneven / uneven.std())
    return TumorShape(name="invented", mask_zyx=distance <= radius, hosts=hosts)


def place_tumor(
    anatomy: Anatomy, shape: TumorShape, rng: np.random.Generator, hosts: Sequence[int] = HOSTS
) -> Mask:  # fmt: skip
    """Place a tumor into an organ at a random position, mirrored and scaled at random, and clip it to the organ.

    Of several positions the one with most of the tumor inside the organ is taken. A tumor that would fill more than a
    third of the organ is made smaller.

    Args:
        anatomy: organs of the patient.
        shape: the tumor.
        rng: source of organ, position, size and mirroring.
        hosts: codes of the allowed organs; those among the hosts of the shape are preferred.

    Returns:
        mask of the tumor (z, y, x); empty if the anatomy has none of these organs.
    """
    there = [code for code in hosts if has_class(anatomy.codes_zyx, code)]
    wanted = [code for code in there if code in shape.hosts] or there
    empty = np.zeros(anatomy.shape, dtype=np.bool_)
    if not wanted:
        return empty
    organ = anatomy.codes_zyx == wanted[rng.integers(len(wanted))]
    voxels = np.argwhere(_on_grid(shape, anatomy.spacing_mm, rng, int(np.count_nonzero(organ))))
    voxels -= np.round(voxels.mean(axis=0)).astype(np.intp)
    places = np.argwhere(organ)
    best, most = empty, 0
    for _ in range(_TRIES):
        moved = voxels + places[rng.integers(len(places))]
        moved = moved[((moved >= 0) & (moved < anatomy.shape)).all(axis=1)]
        mask = empty.copy()
        mask[tuple(moved.T)] = True
        mask &= organ
        if (inside := int(np.count_nonzero(mask))) > most:
            best, most = mask, inside
    return best


def _on_grid(shape: TumorShape, spacing_mm: Spacing, rng: np.random.Generator, organ_voxels: int) -> Mask:
    """The shape on the anatomy's grid, mirrored and scaled at random; at least one voxel."""
    flipped = np.flip(shape.mask_zyx, tuple(axis for axis in range(3) if rng.random() < 0.5))
    size = rng.uniform(0.7, 1.3)
    allowed_ml = _LARGEST_PART * organ_voxels * voxel_volume_ml(spacing_mm)
    volume_ml = np.count_nonzero(flipped) * voxel_volume_ml((_STEP_MM,) * 3) * size**3
    size *= min(1.0, (allowed_ml / volume_ml) ** (1 / 3))
    return _resampled(flipped, [_STEP_MM * size / step for step in spacing_mm])


def _resampled(mask_zyx: Mask, factors: Sequence[float]) -> Mask:
    """A mask resampled by factors (z, y, x); if no voxel would be left, the one that contains most of it."""
    padded = np.pad(mask_zyx, 2).astype(np.float32)
    lengths = [max(1, round(length * factor)) for length, factor in zip(padded.shape, factors, strict=True)]
    blurred = ndimage.gaussian_filter(padded, [max(0.0, 0.4 / factor - 0.4) for factor in factors])
    places = [
        np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        for new, old in zip(lengths, padded.shape, strict=True)
    ]
    values = ndimage.map_coordinates(blurred, np.meshgrid(*places, indexing="ij"), order=1)
    return np.asarray(values >= min(0.5, values.max()))
