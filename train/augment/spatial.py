"""Rotation, scaling, elastic deformation and mirroring: drawing them, and the position each voxel comes from.

Two things differ from nnU-Net: rotations are rotations in millimeters, not in voxels, and left-right is not mirrored.
Ranges, probabilities and order are the same. nnU-Net deforms elastically with probability 0, and rotates patches that
are this flat only within their plane, by any angle, where the paper's code rotates them about all axes.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flare_infer.errors import SpecError
from flare_infer.geometry import Shape, Spacing
from train.augment.elastic import STEEPEST, ElasticDeformation, displacement


@dataclass(frozen=True, kw_only=True)
class SpatialAugmentation:
    """Ranges and probabilities of the changes of shape.

    Attributes:
        rotation_degrees: largest angle about each axis, in degrees.
        rotation_probability: probability of a rotation.
        scale_low: smallest scale; a scale below 1 enlarges the content of a patch.
        scale_high: largest scale; scales are drawn uniformly.
        scale_probability: probability of a scaling.
        elastic_probability: probability of an elastic deformation.
        elastic_knots_mm: smallest distance between displaced knots in mm; the largest is twice that.
        elastic_magnitude_mm: largest displacement of a knot along each axis in mm.
        mirror_axes: array axes that are flipped with probability 1/2 each. Left-right (axis 2) is not among them by
            default, because the classes distinguish left and right kidneys and adrenal glands.
    """

    rotation_degrees: float = 30.0
    rotation_probability: float = 0.2
    scale_low: float = 0.7
    scale_high: float = 1.4
    scale_probability: float = 0.2
    elastic_probability: float = 0.0
    elastic_knots_mm: float = 32.0
    elastic_magnitude_mm: float = 12.0
    mirror_axes: tuple[int, ...] = (0, 1)

    def __post_init__(self) -> None:
        chances = (self.rotation_probability, self.scale_probability, self.elastic_probability)
        if any(not 0 <= chance <= 1 for chance in chances) or not 0 < self.scale_low <= self.scale_high:
            raise SpecError(f"spatial needs probabilities in [0, 1] and 0 < scale_low <= scale_high, found {self}")
        if self.elastic_knots_mm <= 0 or not 0 <= self.elastic_magnitude_mm <= STEEPEST * self.elastic_knots_mm:
            raise SpecError(
                f"spatial needs elastic_magnitude_mm from 0 to {STEEPEST} times elastic_knots_mm, or the patch could "
                f"fold, found {self.elastic_magnitude_mm} and {self.elastic_knots_mm}"
            )
        if any(axis not in {0, 1, 2} for axis in self.mirror_axes):
            raise SpecError(f"spatial needs mirror_axes of 0, 1 and 2, found {self.mirror_axes}")


@dataclass(frozen=True, kw_only=True)
class SpatialParameters:
    """Drawn changes of shape, in the order they are applied to the positions that voxels are taken from.

    Attributes:
        mirrored: array axes to flip.
        elastic: an elastic deformation; None for none.
        scale: factor on the distance from the center of the patch.
        angles: rotation about (z, y, x) in radians.
    """

    mirrored: tuple[int, ...] = ()
    elastic: ElasticDeformation | None = None
    scale: float = 1.0
    angles: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def keeps_shape(self) -> bool:
        """Whether every voxel comes from a voxel: there is no change, or only mirroring."""
        return self.elastic is None and self.scale == 1 and not any(self.angles)


def draw_spatial(spatial: SpatialAugmentation, rng: np.random.Generator) -> SpatialParameters:
    """Draw the changes of one patch."""
    angles, scale, elastic = (0.0, 0.0, 0.0), 1.0, None
    if rng.random() < spatial.rotation_probability:
        largest = math.radians(spatial.rotation_degrees)
        z, y, x = rng.uniform(-largest, largest, 3).tolist()
        angles = (z, y, x)
    if rng.random() < spatial.scale_probability:
        scale = float(rng.uniform(spatial.scale_low, spatial.scale_high))
    if spatial.elastic_probability > 0 and rng.random() < spatial.elastic_probability:
        elastic = ElasticDeformation(
            seed=int(rng.integers(2**31)),
            knots_mm=float(rng.uniform(1, 2)) * spatial.elastic_knots_mm,
            magnitude_mm=float(rng.uniform(0, spatial.elastic_magnitude_mm)),
        )
    mirrored = tuple(axis for axis in spatial.mirror_axes if rng.random() < 0.5)
    return SpatialParameters(angles=angles, scale=scale, elastic=elastic, mirrored=mirrored)


def farthest_source(size: Shape, spacing_mm: Spacing, parameters: SpatialParameters) -> list[float]:
    """Largest absolute value that `source_positions` can return along each axis (z, y, x), in voxels."""
    half = torch.tensor([(length - 1) / 2 for length in size])
    matrix = matrix_mm(parameters) / torch.tensor(spacing_mm)[:, None]
    if parameters.elastic is not None:
        half += parameters.elastic.magnitude_mm / torch.tensor(spacing_mm)
    most: list[float] = (matrix.abs() @ (half * torch.tensor(spacing_mm))).tolist()
    return most


def source_positions(size: Shape, spacing_mm: Spacing, parameters: SpatialParameters) -> tuple[Tensor, Tensor, Tensor]:
    """The position that each voxel of a patch is taken from.

    Mirroring is not included: it is applied to the interpolated patch.

    Args:
        size: number of voxels of the patch along (z, y, x).
        spacing_mm: spacing of the patch along (z, y, x).
        parameters: the drawn changes.

    Returns:
        offsets from the center of the patch along z, y and x in voxels, each of shape (z, y, x).
    """
    voxels = matrix_mm(parameters) / torch.tensor(spacing_mm)[:, None]
    moved = None if parameters.elastic is None else displacement(parameters.elastic, size, spacing_mm, voxels)

    # Offsets of the voxels from the center in mm, one axis each, shaped so that their sum is an array (z, y, x).
    offsets = [
        ((torch.arange(length, dtype=torch.float32) - (length - 1) / 2) * step).reshape(
            [-1 if other == axis else 1 for other in range(3)]
        )
        for axis, (length, step) in enumerate(zip(size, spacing_mm, strict=True))
    ]

    # The matrix turns and scales these offsets, and makes voxels of the case of them; then the elastic part is added.
    found = []
    for axis, row in enumerate(voxels):
        place = offsets[0] * row[0] + offsets[1] * row[1] + offsets[2] * row[2]
        found.append(place if moved is None else place.add_(moved[axis]))
    return found[0], found[1], found[2]


def matrix_mm(parameters: SpatialParameters) -> Tensor:
    """Matrix (3, 3) of scaling and rotations about the axes z, y and x, for offsets (z, y, x) in mm."""
    matrix = torch.eye(3) * parameters.scale
    for axis, angle in enumerate(parameters.angles):
        first, second = (other for other in range(3) if other != axis)
        turn = torch.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    return matrix
