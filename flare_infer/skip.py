"""Which windows need not run: windows of air, and those that the indicator windows of their z position speak for.

The paper runs at every z position the windows 0 and 3 of a 2 x 2 grid, or 4 of a 3 x 3 grid; where they hold only
background the others are taken for background (method-facts 22). Here the rule holds for any grid.
"""

from typing import Final

from torch import Tensor

from flare_infer.geometry import Slices
from flare_infer.labels import BACKGROUND
from flare_infer.spec import Normalization

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


def holds_only_air(image_zyx: Tensor, box: Slices, limit: float) -> bool:
    """Whether no voxel of a normalized image inside a window is brighter than `limit`."""
    return bool(image_zyx[box].amax() <= limit)


def foreground_voxels(logits_czyx: Tensor) -> int:
    """Voxels of a window where a class wins against background, which is channel 0."""
    return int((logits_czyx[BACKGROUND + 1 :].amax(dim=0) > logits_czyx[BACKGROUND]).count_nonzero())


def _middle(count: int) -> list[int]:
    return [count // 2] if count % 2 else [count // 2 - 1, count // 2]
