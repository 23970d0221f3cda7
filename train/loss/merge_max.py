"""Merge-max: the channels in which a partially annotated case is judged (docs/paper.md, Merge-max)."""

from collections.abc import Collection

import torch
from torch import Tensor

from flare_infer.labels import BACKGROUND, KNOWN_BACKGROUND
from train.loss.channels import Channels, channel_of_code, channel_targets, unlabeled_codes


def merge_max(logits_czyx: Tensor, labels_zyx: Tensor, annotated: Collection[int]) -> Channels:
    """Merge background and the classes that are not annotated by their maximum.

    At voxels labeled KNOWN_BACKGROUND nothing is merged: there background competes with the strongest unlabeled class,
    too, which has a channel of its own.

    Args:
        logits_czyx: logits (classes, z, y, x), background first.
        labels_zyx: codes (z, y, x), uint8: background, annotated classes, KNOWN_BACKGROUND, IGNORED.
        annotated: codes annotated in this case.

    Returns:
        the merged channel, the annotated classes in increasing order, then, unless every class is annotated, the
        strongest unlabeled class (minus infinity except at known background); it is never a target.

    Example:
        Of four classes a case annotates class 2 only; classes 1 and 3 join background:

        >>> logits_czyx = torch.tensor([1.0, 5.0, 2.0, 3.0]).reshape(4, 1, 1, 1)
        >>> merged = merge_max(logits_czyx, torch.tensor([[[2]]], dtype=torch.uint8), (2,))
        >>> merged.logits_kzyx.flatten().tolist(), merged.target_zyx.item()
        ([5.0, 2.0, -inf], 1)
    """
    labeled = sorted(annotated)
    unlabeled = unlabeled_codes(logits_czyx.shape[0], labeled)
    target = channel_targets(labels_zyx, channel_of_code(labeled))
    if not unlabeled:
        return Channels(logits_kzyx=logits_czyx, target_zyx=target, codes=tuple(labeled))
    background = logits_czyx[BACKGROUND]
    hardest = logits_czyx[unlabeled].max(dim=0).values
    known = labels_zyx == KNOWN_BACKGROUND
    merged = torch.where(known, background, torch.maximum(background, hardest))
    escaped = torch.where(known, hardest, -torch.inf)
    logits_kzyx = torch.cat((merged[None], logits_czyx[labeled], escaped[None]))
    return Channels(logits_kzyx=logits_kzyx, target_zyx=target, codes=tuple(labeled))
