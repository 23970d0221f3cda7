"""The loss of a batch whose samples may annotate different classes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor

from flare_infer.labels import BACKGROUND
from train.loss.channels import Channels
from train.loss.dice_ce import dice_ce
from train.loss.merge_max import background, marginal, merge_max

PartialLoss: TypeAlias = Literal["merge_max", "marginal", "background"]
"""Treatment of the classes that a case does not annotate: the paper's method first, then two baselines."""

_METHODS: Final[Mapping[PartialLoss, Callable[[Tensor, Tensor, Collection[int]], Channels]]] = {
    "merge_max": merge_max,
    "marginal": marginal,
    "background": background,
}


def partial_loss(
    logits_nczyx: Tensor,
    labels_nzyx: Tensor,
    annotated: Sequence[tuple[int, ...]],
    class_weights: Sequence[float] | None = None,
    method: PartialLoss = "merge_max",
) -> Tensor:
    """Mean over the samples of Dice plus cross-entropy in the channels in which each sample can be judged.

    Args:
        logits_nczyx: logits (n, classes, z, y, x), background first.
        labels_nzyx: codes (n, z, y, x), uint8.
        annotated: codes that each sample annotates.
        class_weights: weight of each class, background first, in the cross-entropy; None weights all voxels equally.
            The merged channel has the weight of background.
        method: treatment of classes that are not annotated.
    """
    losses = []
    for logits_czyx, labels_zyx, codes in zip(logits_nczyx, labels_nzyx, annotated, strict=True):
        channels = _METHODS[method](logits_czyx, labels_zyx, codes)
        weights = None if class_weights is None else _channel_weights(class_weights, channels)
        losses.append(dice_ce(channels.logits_kzyx, channels.target_zyx, len(channels.codes), weights))
    return torch.stack(losses).mean()


def _channel_weights(class_weights: Sequence[float], channels: Channels) -> Tensor:
    """Weight of each channel; channels that enter the softmax only are never a target, so theirs does not matter."""
    weights = [class_weights[BACKGROUND], *(class_weights[code] for code in channels.codes)]
    weights += [1.0] * (channels.logits_kzyx.shape[0] - len(weights))
    return torch.tensor(weights, device=channels.logits_kzyx.device)
