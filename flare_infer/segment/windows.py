"""Where sliding windows lie, how they blend (nnU-Net's rules), and which of them need not run.

Windows of air need not run, nor those that the indicator windows of their z position speak for. The paper runs at every
z position the windows 0 and 3 of a 2 x 2 grid, or 4 of a 3 x 3 grid; where they hold only background the others are
taken for background (docs/paper.md, Window skipping). Here the rule holds for any grid.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from flare_infer.geometry import Box, Shape, triple_of_ints
from flare_infer.labels import BACKGROUND
from flare_infer.model.spec import Normalization


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

    def box(self, z: int, row: int, column: int) -> Box:
        """The window at the `z`-th, `row`-th and `column`-th start along z, y and x."""
        first = (self.starts[0][z], self.starts[1][row], self.starts[2][column])
        return Box.at(first, self.patch)


def window_grid(shape: Shape, patch: Shape, step: float) -> WindowGrid:
    """The windows over a volume of at least the patch's shape."""
    z, y, x = (tuple(window_starts(length, size, step)) for length, size in zip(shape, patch, strict=True))
    return WindowGrid(starts=(z, y, x), patch=patch)


def window_starts(length: int, patch: int, step: float) -> list[int]:
    """First voxel of every window along one axis.

    Windows cover the axis evenly, at most `step * patch` (at least a voxel) apart; an axis no longer than the patch has
    one window, at 0.

    Example:
        >>> window_starts(160, 96, 0.5)
        [0, 32, 64]
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

    No weight is zero: the smallest is the least number above zero in nnU-Net's half precision.
    """
    profiles = []
    for size in patch:
        distance = torch.arange(size, device=device, dtype=torch.float32) - size // 2
        profiles.append(torch.exp(-0.5 * (distance / (size / 8)) ** 2))
    z, y, x = profiles
    return (z[:, None, None] * y[None, :, None] * x[None, None, :]).clamp_(min=6e-9)


AIR_BELOW_HU: Final = -500.0
"""What is darker, everywhere in a window, is no patient; a window inside a lung holds vessels and walls, too."""


def indicator_windows(rows: int, columns: int) -> list[tuple[int, int]]:
    """The windows of a z position that speak for the others, as (row, column).

    Along each axis the middle window, or the two middle ones where their number is even. Where both are even, of these
    four the two on the diagonal: in LPS one looks toward the liver, the other toward the spleen and the left kidney. In
    a grid of at most two windows they speak for themselves only.
    """
    middle_rows, middle_columns = _middle(rows), _middle(columns)
    if len(middle_rows) == len(middle_columns) == 2:
        return list(zip(middle_rows, middle_columns, strict=True))
    return [(row, column) for row in middle_rows for column in middle_columns]


def air_limit(normalization: Normalization) -> float:
    """The normalized intensity up to which a voxel counts as air; a model that clips higher sees no darker ones."""
    return max(normalization.air, (AIR_BELOW_HU - normalization.mean_hu) / normalization.std_hu)


def holds_only_air(image_zyx: Tensor, box: Box, limit: float) -> bool:
    """Whether no voxel of a normalized image inside a window is brighter than `limit`."""
    return bool(image_zyx[box].amax() <= limit)


def foreground_voxels(logits_czyx: Tensor) -> int:
    """Voxels of a window where a class wins against background, which is channel 0."""
    return int((logits_czyx[BACKGROUND + 1 :].amax(dim=0) > logits_czyx[BACKGROUND]).count_nonzero())


def _middle(count: int) -> list[int]:
    return [count // 2] if count % 2 else [count // 2 - 1, count // 2]
