"""Logits on the model's grid to labels on the full grid, a slab at a time within a byte budget."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from flare_infer.geometry import Shape

BUDGET_BYTES: Final = 256 * 1024**2
"""Default bound on the logits that are held at full size at any moment."""


def decode_labels(
    logits_czyx: Tensor, shape: Shape, codes: Sequence[int], budget_bytes: int = BUDGET_BYTES
) -> npt.NDArray[np.uint8]:
    """Interpolate logits trilinearly to `shape` and take the winning class of every voxel.

    Equal to interpolating the whole array and taking its argmax, but no more than `budget_bytes` of full-size logits
    (at least one plane) exist at a time. Trilinear interpolation is linear along z after bilinear interpolation in the
    plane, so each full-size plane needs only two planes of the model's grid.

    Args:
        logits_czyx: one channel for each class of the model (c, z, y, x).
        shape: full shape (z, y, x).
        codes: the classes that may win, as indices into the channels and codes to write.
        budget_bytes: bound on the interpolated slab.

    Returns:
        labels (z, y, x) as uint8.
    """
    device = logits_czyx.device
    table = torch.tensor(list(codes), dtype=torch.uint8, device=device)
    logits_czyx = logits_czyx[list(codes)]
    below, above, fraction = _neighbors(logits_czyx.shape[1], shape[0], device)
    plane_bytes = len(codes) * shape[1] * shape[2] * logits_czyx.element_size()
    depth = max(1, budget_bytes // plane_bytes)

    out_zyx = np.empty(shape, dtype=np.uint8)
    with torch.inference_mode():
        for start in range(0, shape[0], depth):
            planes = slice(start, min(start + depth, shape[0]))
            weight = fraction[planes][None, :, None, None].to(logits_czyx.dtype)
            slab = torch.lerp(logits_czyx[:, below[planes]], logits_czyx[:, above[planes]], weight)
            slab = functional.interpolate(slab, size=shape[1:], mode="bilinear", align_corners=False)
            out_zyx[planes] = table[slab.argmax(dim=0)].cpu().numpy()
            del slab
    return out_zyx


def _neighbors(source: int, target: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each target plane the two source planes about it and the weight of the upper one (corners not aligned)."""
    center = (torch.arange(target, device=device, dtype=torch.float64) + 0.5) * (source / target) - 0.5
    center = center.clamp(min=0)
    below = center.floor().long().clamp(max=source - 1)
    above = (below + 1).clamp(max=source - 1)
    return below, above, center - below
