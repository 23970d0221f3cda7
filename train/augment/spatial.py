"""Rotation, scaling and mirroring, done in the same pass that cuts a patch out of its case."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flare_infer.geometry import Shape, Slices, Spacing, triple_of_ints
from flare_infer.labels import KNOWN_BACKGROUND
from train.augment.cutmix import Paste, apply_paste
from train.augment.patch import Patch
from train.data.sampler import PatchCenter
from train.data.store import PreparedCase


@dataclass(frozen=True, kw_only=True)
class Spatial:
    """Ranges and probabilities (method-facts 13).

    Attributes:
        rotation_degrees: largest angle about each axis.
        rotation_probability: chance of a rotation.
        scale_low: smallest scale; below 1 enlarges what is seen.
        scale_high: largest scale.
        scale_probability: chance of a scaling.
        mirror_axes: array axes that are flipped with probability 1/2 each. Left-right (axis 2) is off by default:
            kidneys and adrenal glands are sided.
    """

    rotation_degrees: float = 30.0
    rotation_probability: float = 0.2
    scale_low: float = 0.7
    scale_high: float = 1.4
    scale_probability: float = 0.2
    mirror_axes: tuple[int, ...] = (0, 1)


@dataclass(frozen=True, kw_only=True)
class SpatialParameters:
    """One drawn change: angles in radians about (z, y, x), a scale, and the axes to flip."""

    angles: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    mirrored: tuple[int, ...] = ()


def draw_spatial(spatial: Spatial, rng: np.random.Generator) -> SpatialParameters:
    """Draw one change."""
    angles, scale = (0.0, 0.0, 0.0), 1.0
    if rng.random() < spatial.rotation_probability:
        largest = math.radians(spatial.rotation_degrees)
        z, y, x = rng.uniform(-largest, largest, 3).tolist()
        angles = (z, y, x)
    if rng.random() < spatial.scale_probability:
        scale = _draw_scale(spatial, rng)
    mirrored = tuple(axis for axis in spatial.mirror_axes if rng.random() < 0.5)
    return SpatialParameters(angles=angles, scale=scale, mirrored=mirrored)


def cut_patch(
    center: PatchCenter,
    size: Shape,
    spacing_mm: Spacing,
    parameters: SpatialParameters,
    air: float,
    paste: Paste | None = None,
) -> Patch:
    """Cut a patch out of its case, turned and scaled: image trilinear, labels nearest.

    What lies outside the scan is air, and known to be background.

    Args:
        center: case and place.
        size: patch size in voxels (z, y, x).
        spacing_mm: spacing of the case; rotations are rotations in millimeters.
        parameters: the drawn change.
        air: normalized intensity of air.
        paste: a tumor object that is pasted into the case first.
    """
    coordinates = _coordinates(center.voxel, size, spacing_mm, parameters)
    box = _box_about(coordinates, center.case.shape)
    piece = _read(center.case, box)
    if paste is not None:
        piece = apply_paste(piece, triple_of_ints([part.start for part in box]), paste)
    start = torch.tensor([part.start for part in box], dtype=torch.float32)
    length = torch.tensor(piece.image_zyx.shape, dtype=torch.float32)
    grid = ((coordinates - start) * 2 + 1) / length - 1
    image_zyx = _sample(piece.image_zyx - air, grid, "bilinear") + air
    labels_zyx = _sample(piece.labels_zyx.float() - KNOWN_BACKGROUND, grid, "nearest") + KNOWN_BACKGROUND
    return replace(piece, image_zyx=image_zyx, labels_zyx=labels_zyx.to(torch.uint8))


def _read(case: PreparedCase, box: Slices) -> Patch:
    """A box of a case as it is stored."""
    return Patch(
        image_zyx=torch.from_numpy(np.asarray(case.image_zyx[box], dtype=np.float32)),
        labels_zyx=torch.from_numpy(np.array(case.labels_zyx[box])),
        annotated=case.annotated,
    )


def _draw_scale(spatial: Spatial, rng: np.random.Generator) -> float:
    """Half of the scalings shrink, half enlarge."""
    if rng.random() < 0.5:
        return float(rng.uniform(spatial.scale_low, 1.0))
    return float(rng.uniform(1.0, spatial.scale_high))


def _coordinates(
    center: tuple[float, float, float], size: Shape, spacing_mm: Spacing, parameters: SpatialParameters
) -> Tensor:
    """Source voxel (z, y, x) of every voxel of the patch: (z, y, x, 3)."""
    # Without a change, half voxels would blur the patch: a center is rounded so that voxels fall on voxels.
    whole = [
        math.floor(place - (length - 1) / 2 + 0.5) + (length - 1) / 2
        for place, length in zip(center, size, strict=True)
    ]
    offsets = [torch.arange(length, dtype=torch.float32) - (length - 1) / 2 for length in size]
    offsets = [-axis if index in parameters.mirrored else axis for index, axis in enumerate(offsets)]
    grid = torch.stack(torch.meshgrid(*offsets, indexing="ij"), dim=-1)
    spacing = torch.tensor(spacing_mm)
    matrix = _rotation(parameters.angles) * parameters.scale
    return (grid * spacing) @ matrix.T / spacing + torch.tensor(whole)


def _rotation(angles: tuple[float, float, float]) -> Tensor:
    """Product of the rotations about the axes z, y and x, acting on vectors (z, y, x)."""
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (other for other in range(3) if other != axis)
        turn = torch.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    return matrix


def _box_about(coordinates: Tensor, shape: Shape) -> Slices:
    """The part of the case that the coordinates touch, never empty."""
    flat = coordinates.reshape(-1, 3)
    low, high = flat.amin(dim=0).floor().int().tolist(), flat.amax(dim=0).ceil().int().tolist()
    parts = []
    for first, last, length in zip(low, high, shape, strict=True):
        start = min(max(first - 1, 0), length - 1)
        parts.append(slice(start, max(min(last + 2, length), start + 1)))
    return parts[0], parts[1], parts[2]


def _sample(source: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Values at normalized coordinates (z, y, x); zero outside."""
    sampled = functional.grid_sample(
        source[None, None], grid.flip(-1)[None], mode=mode, padding_mode="zeros", align_corners=False
    )
    return sampled[0, 0]
