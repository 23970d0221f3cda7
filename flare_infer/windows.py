"""Where sliding windows lie, and how they blend (nnU-Net's rules)."""

import math

import torch
from torch import Tensor

from flare_infer.geometry import Shape, Slices, triple_of_ints


def window_starts(length: int, patch: int, step: float) -> list[int]:
    """First voxel of every window along one axis.

    Windows cover the axis evenly, at most `step * patch` (at least a voxel) apart; an axis no longer than the patch has
    one window, at 0.
    """
    if length <= patch:
        return [0]
    count = math.ceil((length - patch) / max(patch * step, 1.0)) + 1
    gap = (length - patch) / (count - 1)
    return [round(gap * index) for index in range(count)]


def window_boxes(shape: Shape, patch: Shape, step: float) -> list[Slices]:
    """Boxes of all windows over a volume of at least the patch's shape, sorted by z, then y, then x."""
    z_starts, y_starts, x_starts = (
        window_starts(length, size, step) for length, size in zip(shape, patch, strict=True)
    )
    return [
        (slice(z, z + patch[0]), slice(y, y + patch[1]), slice(x, x + patch[2]))
        for z in z_starts
        for y in y_starts
        for x in x_starts
    ]


def padded_shape(shape: Shape, patch: Shape) -> Shape:
    """The shape a volume must be padded to so that one window fits along every axis."""
    return triple_of_ints([max(length, size) for length, size in zip(shape, patch, strict=True)])


def gaussian_importance(patch: Shape, device: torch.device) -> Tensor:
    """Weight of each voxel of a window: a Gaussian about its center with sigma 1/8 of the patch, maximum 1.

    Corners are raised to the smallest weight that keeps a quotient of float16 sums exact enough.
    """
    profiles = []
    for size in patch:
        distance = torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2
        profiles.append(torch.exp(-0.5 * (distance / (size / 8)) ** 2))
    z, y, x = profiles
    importance = z[:, None, None] * y[None, :, None] * x[None, None, :]
    return (importance / importance.max()).clamp_(min=1e-3)
