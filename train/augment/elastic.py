"""Elastic deformation: a smooth random displacement of every voxel."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from flare_infer.geometry import Shape, Spacing

STEEPEST: Final = 0.4
"""Largest displacement of a knot along an axis, in distances between knots, that cannot fold the patch.

Choi and Lee (Injectivity conditions of 2D and 3D uniform cubic B-spline functions, 2000) prove it below 1 / 2.48.
"""


@dataclass(frozen=True, kw_only=True)
class ElasticDeformation:
    """A drawn elastic deformation.

    Attributes:
        seed: seed of the displacements of the knots.
        knots_mm: distance in mm between the knots of a regular lattice around the center of the patch.
        magnitude_mm: largest displacement of a knot along each axis in mm; displacements are drawn uniformly up to it.
            Between knots runs a cubic B-spline, which smooths: the standard deviation of a voxel's displacement along
            each axis is a third of the magnitude, divided by the square root of 3.
    """

    seed: int
    knots_mm: float
    magnitude_mm: float


def displacement(elastic: ElasticDeformation, size: Shape, spacing_mm: Spacing, matrix: Tensor) -> Tensor:
    """The displacement of every voxel of a patch.

    Args:
        elastic: the drawn deformation.
        size: number of voxels of the patch along (z, y, x).
        spacing_mm: spacing of the patch along (z, y, x).
        matrix: (3, 3), applied to each displacement (z, y, x) in mm, for example a rotation with conversion to voxels.

    Returns:
        displacements along z, y and x, of shape (3, z, y, x), float32.
    """
    bases = [_basis(length, step, elastic.knots_mm) for length, step in zip(size, spacing_mm, strict=True)]
    knots = (3, *(basis.shape[1] for basis in bases))
    drawn = np.random.default_rng(elastic.seed).uniform(-1, 1, knots) * elastic.magnitude_mm
    # The spline is linear in its knots, so the matrix is applied to the few knots instead of the many voxels.
    field: Tensor = torch.tensordot(matrix, torch.from_numpy(drawn.astype(np.float32)), dims=1)
    for basis in bases:
        field = torch.tensordot(field, basis, dims=([1], [1]))
    return field


def _basis(length: int, step_mm: float, knots_mm: float) -> Tensor:
    """Weight of each knot at each voxel of an axis, of shape (voxels, knots); the weights of a voxel add up to 1."""
    places = (torch.arange(length, dtype=torch.float64) - (length - 1) / 2) * step_mm / knots_mm
    outermost = math.floor(float(places[-1])) + 2
    knots = torch.arange(-outermost, outermost + 1, dtype=torch.float64)
    distance = (places[:, None] - knots[None, :]).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far).float()
