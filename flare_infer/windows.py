"""Where sliding windows lie, and how they blend (nnU-Net's rules)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flare_infer.geometry import Shape, Slices, triple_of_ints


@dataclass(frozen=True, kw_only=True)
class WindowGrid:
    """All windows over a volume: one at every combination of a start along z, y and x.

    Attributes:
        starts: first voxels of the windows along (z, y, x), ascending.
        patch: size of every window (z, y, x).
    """

    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    patch: Shape

    @property
    def count(self) -> int:
        """Number of windows."""
        z, y, x = self.starts
        return len(z) * len(y) * len(x)

    def box(self, z: int, row: int, column: int) -> Slices:
        """The window at the `z`-th, `row`-th and `column`-th start along z, y and x."""
        first = (self.starts[0][z], self.starts[1][row], self.starts[2][column])
        deep, high, wide = (slice(start, start + size) for start, size in zip(first, self.patch, strict=True))
        return deep, high, wide


def window_grid(shape: Shape, patch: Shape, step: float) -> WindowGrid:
    """The windows over a volume of at least the patch's shape."""
    z, y, x = (tuple(window_starts(length, size, step)) for length, size in zip(shape, patch, strict=True))
    return WindowGrid(starts=(z, y, x), patch=patch)


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


def padded_shape(shape: Shape, patch: Shape) -> Shape:
    """The shape a volume must be padded to so that one window fits along every axis."""
    return triple_of_ints([max(length, size) for length, size in zip(shape, patch, strict=True)])


def gaussian_importance(patch: Shape, device: torch.device) -> Tensor:
    """Weight of each voxel of a window: a Gaussian with sigma 1/8 of the patch, 1 at voxel `size // 2` of each axis.

    No weight is zero: the smallest is what nnU-Net's half precision can still tell from zero.
    """
    profiles = []
    for size in patch:
        distance = torch.arange(size, device=device, dtype=torch.float32) - size // 2
        profiles.append(torch.exp(-0.5 * (distance / (size / 8)) ** 2))
    z, y, x = profiles
    return (z[:, None, None] * y[None, :, None] * x[None, None, :]).clamp_(min=6e-9)
