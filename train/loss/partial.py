"""The loss of a batch whose samples may each annotate other classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from flare_infer.labels import BACKGROUND
from train.loss.dice_ce import dice_ce
from train.loss.merge_max import merge_max


def partial_loss(
    logits_nczyx: Tensor,
    labels_nzyx: Tensor,
    annotated: Sequence[tuple[int, ...]],
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """Mean over samples of Dice plus cross-entropy after merge-max.

    Args:
        logits_nczyx: one channel for each class.
        labels_nzyx: codes, uint8.
        annotated: annotated codes of each sample.
        class_weights: weight of each class, background first, in the cross-entropy; None counts all voxels alike. The
            merged channel has the weight of background.
    """
    losses = []
    for logits_czyx, labels_zyx, codes in zip(logits_nczyx, labels_nzyx, annotated, strict=True):
        merged, target = merge_max(logits_czyx, labels_zyx, codes)
        weights = None if class_weights is None else _channel_weights(class_weights, codes, merged)
        losses.append(dice_ce(merged, target, foreground=len(codes), weights_k=weights))
    return torch.stack(losses).mean()


def _channel_weights(class_weights: Sequence[float], codes: tuple[int, ...], merged_kzyx: Tensor) -> Tensor:
    """Weight of each merged channel; the channel of the strongest unlabeled class is never a target."""
    channels = [class_weights[BACKGROUND], *(class_weights[code] for code in sorted(codes))]
    channels += [1.0] * (merged_kzyx.shape[0] - len(channels))
    return torch.tensor(channels, device=merged_kzyx.device)
