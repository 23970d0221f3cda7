"""Soft Dice plus cross-entropy of one sample (docs/paper.md, Loss)."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

SMOOTH: Final = 1e-5
"""Added to numerator and denominator of Dice: a class that is absent and not predicted scores 1."""

NOT_COUNTED: Final = -1
"""Target of voxels that count neither in Dice nor in cross-entropy."""


def dice_ce(logits_kzyx: Tensor, target_zyx: Tensor, foreground: int, weights_k: Tensor | None = None) -> Tensor:
    """Mean cross-entropy plus one minus mean soft Dice, with equal weights, computed in float32.

    Without a single counted voxel the loss is zero, and so is its gradient.

    Args:
        logits_kzyx: logits (channels, z, y, x): channel 0 is background, channels 1..foreground are classes; further
            channels enter the softmax only.
        target_zyx: channel of each voxel (z, y, x), int64, at most `foreground`, or NOT_COUNTED.
        foreground: number of classes that Dice is averaged over.
        weights_k: weight of each channel's voxels in the cross-entropy; None weights all voxels equally.
    """
    log_probabilities = functional.log_softmax(logits_kzyx.float(), dim=0)
    counted = target_zyx != NOT_COUNTED
    cross_entropy = _cross_entropy(log_probabilities, target_zyx, counted, weights_k)
    probabilities = log_probabilities[1 : foreground + 1].exp() * counted
    classes = torch.arange(1, foreground + 1, device=target_zyx.device)
    truth = (target_zyx[None] == classes[:, None, None, None]).float()
    overlap = (probabilities * truth).sum(dim=(1, 2, 3))
    size = probabilities.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3))
    dice = (2 * overlap + SMOOTH) / (size + SMOOTH)
    return cross_entropy + 1 - dice.mean()


def _cross_entropy(log_probabilities: Tensor, target_zyx: Tensor, counted: Tensor, weights_k: Tensor | None) -> Tensor:
    """Weighted mean over the counted voxels; without any it is zero instead of 0/0."""
    total = functional.nll_loss(
        log_probabilities[None], target_zyx[None], weights_k, ignore_index=NOT_COUNTED, reduction="sum"
    )
    weight = counted if weights_k is None else weights_k[target_zyx.clamp(min=0)] * counted
    return total / weight.sum().float().clamp(min=torch.finfo(torch.float32).tiny)
