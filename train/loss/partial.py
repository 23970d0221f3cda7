"""The loss of a batch whose samples may each annotate other classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from train.loss.dice_ce import dice_ce
from train.loss.merge_max import merge_max


def partial_loss(logits_nczyx: Tensor, labels_nzyx: Tensor, annotated: Sequence[tuple[int, ...]]) -> Tensor:
    """Mean over samples of Dice plus cross-entropy after merge-max.

    Args:
        logits_nczyx: one channel for each class.
        labels_nzyx: codes, uint8.
        annotated: annotated codes of each sample.
    """
    losses = []
    for logits_czyx, labels_zyx, codes in zip(logits_nczyx, labels_nzyx, annotated, strict=True):
        merged, target = merge_max(logits_czyx, labels_zyx, codes)
        losses.append(dice_ce(merged, target, foreground=len(codes)))
    return torch.stack(losses).mean()
