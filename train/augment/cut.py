"""A patch cut out of its case: a plain piece, or one interpolated once for all that changes its shape.

Compared with nnU-Net: a label is that of the nearest voxel, not the class that wins by linear interpolation, which
takes an interpolation for each class; and outside the scan there is air, not the mean of the intensities.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flare_infer.geometry import Shape, Slices, Spacing, triple_of_ints
from flare_infer.labels import KNOWN_BACKGROUND
from train.augment.cutmix import Paste, apply_paste
from train.augment.patch import Patch
from train.augment.spatial import SpatialParameters, farthest_source, source_positions
from train.sampling.sampler import PatchCenter
from train.store.store import PreparedCase

_AIR: Final = 2
"""Voxels of air around a scan that a patch is interpolated from."""

_PART: Final = 2**17
"""Voxels that are interpolated at a time."""


def cut_patch(
    center: PatchCenter,
    size: Shape,
    spacing_mm: Spacing,
    parameters: SpatialParameters,
    air: float,
    paste: Paste | None = None,
) -> Patch:
    """Cut a patch out of its case, changed in shape: image trilinear, labels nearest.

    What lies outside the scan is air, and known to be background. A patch that is only mirrored is a piece of its case,
    voxel for voxel.

    Args:
        center: case and place.
        size: patch size in voxels (z, y, x).
        spacing_mm: spacing of the case; rotations are rotations in millimeters.
        parameters: the drawn change.
        air: normalized intensity of air.
        paste: a tumor object that is pasted into the case first.
    """
    first = first_voxel(center.voxel, size)
    if parameters.keeps_shape:
        starts, stops = first, [start + length for start, length in zip(first, size, strict=True)]
        patch = _piece(center.case, starts, stops, air, paste)
    else:
        # Voxels of a plain piece fall on voxels of the case: so do these, were they not changed.
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
    """Where a patch that is not turned begins in its case, from the middle that was drawn for it."""
    return [math.floor(place - (length - 1) / 2 + 0.5) for place, length in zip(middle, size, strict=True)]


def _box(middles: list[float], most: list[float], shape: Shape) -> tuple[list[int], list[int]]:
    """First voxel and end of a box that holds what lies within reach, and all around it a voxel to interpolate with.

    It ends two voxels off the scan. They are air: whatever is farther off is taken from between them.
    """
    starts, stops = [], []
    for middle, far, length in zip(middles, most, shape, strict=True):
        # One voxel more than needed, for rounding.
        start = min(max(math.floor(middle - far) - 2, -_AIR), length + _AIR - 4)
        starts.append(start)
        stops.append(max(min(math.ceil(middle + far) + 3, length + _AIR), start + 4))
    return starts, stops


def _piece(case: PreparedCase, starts: list[int], stops: list[int], air: float, paste: Paste | None) -> Patch:
    """Voxels of a case as they are stored, with air around it where the box reaches beyond, and the paste in them."""
    inside = [
        slice(min(max(start, 0), length), max(min(stop, length), 0))
        for start, stop, length in zip(starts, stops, case.shape, strict=True)
    ]
    box: Slices = (inside[0], inside[1], inside[2])
    image_zyx = torch.from_numpy(np.asarray(case.image_zyx[box])).float()
    labels_zyx = torch.from_numpy(np.asarray(case.labels_zyx[box]))
    around = [
        margin
        for part, start, stop in reversed(list(zip(inside, starts, stops, strict=True)))
        for margin in (part.start - start, stop - part.stop)
    ]
    if any(around):
        image_zyx = functional.pad(image_zyx, around, value=air)
        labels_zyx = functional.pad(labels_zyx, around, value=KNOWN_BACKGROUND)
    piece = Patch(image_zyx=image_zyx, labels_zyx=labels_zyx, annotated=case.annotated)
    return piece if paste is None else apply_paste(piece, triple_of_ints(starts), paste)


def _interpolated(piece: Patch, places: Sequence[Tensor], origin: Sequence[float]) -> Patch:
    """Voxels from anywhere in a piece; a place on a voxel of the piece gives exactly that one.

    On one core this takes half as long as `grid_sample`, which looks at the borders of the image for every voxel.

    Args:
        piece: voxels of the case.
        places: along z, y and x from the origin, each (z, y, x).
        origin: in voxels of the piece.
    """
    size = places[0].shape
    image_zyx, labels_zyx = torch.empty(size), torch.empty(size, dtype=torch.uint8)
    # A part whose temporary arrays fit into a processor's cache.
    planes = max(1, _PART // (size[1] * size[2]))
    for z in range(0, size[0], planes):
        part = slice(z, z + planes)
        there = [
            (along[part] + middle).clamp_(0.5, most - 1.5)
            for along, middle, most in zip(places, origin, piece.labels_zyx.shape, strict=True)
        ]
        image_zyx[part] = _trilinear(piece.image_zyx, there)
        labels_zyx[part] = _nearest(piece.labels_zyx, there)
    return replace(piece, image_zyx=image_zyx, labels_zyx=labels_zyx)


def _trilinear(source_zyx: Tensor, places: Sequence[Tensor]) -> Tensor:
    """Values at places (along z, y, x) that all have neighbors in the source."""
    _, height, width = source_zyx.shape
    below = [place.int() for place in places]
    weights = [place - index for place, index in zip(places, below, strict=True)]
    first = _flat_index(below, source_zyx.shape)
    planes = []
    for z in (0, height * width):
        rows = []
        for y in (0, width):
            left, right = (source_zyx.flatten()[z + y + x :].index_select(0, first) for x in (0, 1))
            rows.append(left.lerp_(right, weights[2].flatten()))
        planes.append(rows[0].lerp_(rows[1], weights[1].flatten()))
    return planes[0].lerp_(planes[1], weights[0].flatten()).view(places[0].shape)


def _nearest(source_zyx: Tensor, places: Sequence[Tensor]) -> Tensor:
    """Values of the voxels nearest to places (along z, y, x); between two, of the later one."""
    index = _flat_index([(place + 0.5).int() for place in places], source_zyx.shape)
    return source_zyx.flatten().index_select(0, index).view(places[0].shape)


def _flat_index(indices: Sequence[Tensor], shape: torch.Size) -> Tensor:
    z, y, x = indices
    return (z * shape[1]).add_(y).mul_(shape[2]).add_(x).flatten()
