"""Cutting a patch out of its case: either a plain piece, or one interpolation for all changes of shape together.

Two things differ from nnU-Net: labels are those of the nearest voxel, not of the class that wins by linear
interpolation, which needs an interpolation for each class; and outside the scan there is air, not the mean intensity.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flare_infer.geometry import Box, Shape, Spacing, triple_of_ints
from flare_infer.labels import KNOWN_BACKGROUND
from train.augment.cutmix import Paste, apply_paste
from train.augment.patch import Patch
from train.augment.spatial import SpatialParameters, farthest_source, source_positions
from train.sampling.sampler import PatchCenter
from train.store.store import PreparedCase

_AIR: Final = 2
"""Number of voxels of air around a scan that interpolation may use."""

_PART: Final = 2**17
"""Number of voxels that are interpolated at a time."""


def cut_patch(
    center: PatchCenter,
    size: Shape,
    spacing_mm: Spacing,
    parameters: SpatialParameters,
    air: float,
    paste: Paste | None = None,
) -> Patch:
    """Cut a patch out of its case and change its shape: image trilinear, labels nearest.

    Outside the scan there is air, labeled as known background. A patch that is only mirrored has the voxels of its case
    unchanged.

    Args:
        center: the case and the center of the patch.
        size: size of the patch in voxels (z, y, x).
        spacing_mm: spacing of the case along (z, y, x); rotations are rotations in millimeters.
        parameters: the drawn change of shape.
        air: normalized intensity of air.
        paste: a tumor object that is pasted into the case first; None for none.
    """
    first = first_voxel(center.voxel, size)
    if parameters.keeps_shape:
        starts, stops = first, [start + length for start, length in zip(first, size, strict=True)]
        patch = _piece(center.case, starts, stops, air, paste)
    else:
        # Without a change the positions would be those of a plain piece: voxels of the case.
        middles = [start + (length - 1) / 2 for start, length in zip(first, size, strict=True)]
        starts, stops = _box(middles, farthest_source(size, spacing_mm, parameters), center.case.shape)
        piece = _piece(center.case, starts, stops, air, paste)
        origin = [middle - start for middle, start in zip(middles, starts, strict=True)]
        patch = _interpolated(piece, source_positions(size, spacing_mm, parameters), origin)
    if not parameters.mirrored:
        return patch
    image_zyx, labels_zyx = (array.flip(parameters.mirrored) for array in (patch.image_zyx, patch.labels_zyx))
    return replace(patch, image_zyx=image_zyx, labels_zyx=labels_zyx)


def first_voxel(middle: tuple[float, float, float], size: Shape) -> list[int]:
    """First voxel (z, y, x) of a patch that is not rotated, given the center that was drawn for it."""
    return [math.floor(center - (length - 1) / 2 + 0.5) for center, length in zip(middle, size, strict=True)]


def _box(middles: list[float], most: list[float], shape: Shape) -> tuple[list[int], list[int]]:
    """The box of a case that a changed patch is interpolated from, with a voxel around it for interpolation.

    It reaches at most two voxels beyond the scan. Both are air, so any position farther outside is air as well.

    Args:
        middles: center of the patch in voxels of the case (z, y, x).
        most: largest distance of a source position from the center along each axis, in voxels.
        shape: number of voxels of the case along (z, y, x).

    Returns:
        first voxel and end (exclusive) along each axis.
    """
    starts, stops = [], []
    for middle, far, length in zip(middles, most, shape, strict=True):
        # One voxel more than needed, for rounding.
        start = min(max(math.floor(middle - far) - 2, -_AIR), length + _AIR - 4)
        starts.append(start)
        stops.append(max(min(math.ceil(middle + far) + 3, length + _AIR), start + 4))
    return starts, stops


def _piece(case: PreparedCase, starts: list[int], stops: list[int], air: float, paste: Paste | None) -> Patch:
    """Voxels of a case from starts to stops, with air where these lie beyond the case, and the paste applied."""
    box = Box.between(
        [min(max(start, 0), length) for start, length in zip(starts, case.shape, strict=True)],
        [max(min(stop, length), 0) for stop, length in zip(stops, case.shape, strict=True)],
    )
    image_zyx = torch.from_numpy(np.asarray(case.image_zyx[box])).float()
    labels_zyx = torch.from_numpy(np.asarray(case.labels_zyx[box]))
    around = [
        margin
        for part, start, stop in reversed(list(zip(box, starts, stops, strict=True)))
        for margin in (part.start - start, stop - part.stop)
    ]
    if any(around):
        image_zyx = functional.pad(image_zyx, around, value=air)
        labels_zyx = functional.pad(labels_zyx, around, value=KNOWN_BACKGROUND)
    piece = Patch(image_zyx=image_zyx, labels_zyx=labels_zyx, annotated=case.annotated)
    return piece if paste is None else apply_paste(piece, triple_of_ints(starts), paste)


def _interpolated(piece: Patch, positions: Sequence[Tensor], origin: Sequence[float]) -> Patch:
    """Interpolate a piece at positions; a position on a voxel of the piece gives exactly that voxel.

    On one core this takes half as long as `grid_sample`, which checks the borders of the image for every voxel.

    Args:
        piece: voxels of the case.
        positions: voxels along z, y and x relative to the origin, each of shape (z, y, x).
        origin: the origin in voxels of the piece.
    """
    size = positions[0].shape
    image_zyx, labels_zyx = torch.empty(size), torch.empty(size, dtype=torch.uint8)
    # So few planes that temporary arrays fit into the cache of a processor.
    planes = max(1, _PART // (size[1] * size[2]))
    for z in range(0, size[0], planes):
        part = slice(z, z + planes)
        there = [
            (along[part] + middle).clamp_(0.5, most - 1.5)
            for along, middle, most in zip(positions, origin, piece.labels_zyx.shape, strict=True)
        ]
        image_zyx[part] = _trilinear(piece.image_zyx, there)
        labels_zyx[part] = _nearest(piece.labels_zyx, there)
    return replace(piece, image_zyx=image_zyx, labels_zyx=labels_zyx)


def _trilinear(source_zyx: Tensor, positions: Sequence[Tensor]) -> Tensor:
    """Values at positions (along z, y, x), which must all have neighbors on both sides in the source."""
    _, height, width = source_zyx.shape
    # The eight neighbors of a position differ from the first by a step along x, y or z: one index serves all, into
    # shifted views of the flat array. Interpolation goes along x within rows, then along y, then along z.
    below = [position.int() for position in positions]
    weights = [position - index for position, index in zip(positions, below, strict=True)]
    first = _flat_index(below, source_zyx.shape)
    planes = []
    for z in (0, height * width):
        rows = []
        for y in (0, width):
            left, right = (source_zyx.flatten()[z + y + x :].index_select(0, first) for x in (0, 1))
            rows.append(left.lerp_(right, weights[2].flatten()))
        planes.append(rows[0].lerp_(rows[1], weights[1].flatten()))
    return planes[0].lerp_(planes[1], weights[0].flatten()).view(positions[0].shape)


def _nearest(source_zyx: Tensor, positions: Sequence[Tensor]) -> Tensor:
    """Values of the voxels nearest to positions (along z, y, x); halfway between two, of the later one."""
    index = _flat_index([(position + 0.5).int() for position in positions], source_zyx.shape)
    return source_zyx.flatten().index_select(0, index).view(positions[0].shape)


def _flat_index(indices: Sequence[Tensor], shape: torch.Size) -> Tensor:
    z, y, x = indices
    return (z * shape[1]).add_(y).mul_(shape[2]).add_(x).flatten()
