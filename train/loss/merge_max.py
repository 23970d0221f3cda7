"""Merge-max: the channels a partially annotated case can speak about (equation 1 of the paper)."""

from collections.abc import Collection

import torch
from torch import Tensor

from flare_infer.labels import BACKGROUND, KNOWN_BACKGROUND


def merge_max(logits_czyx: Tensor, labels_zyx: Tensor, annotated: Collection[int]) -> tuple[Tensor, Tensor]:
    """Merge background and the classes that are not annotated by their maximum.

    Where the labels say KNOWN_BACKGROUND nothing is merged: background must win against the strongest unlabeled class,
    too, which stands there in a channel of its own.

    Args:
        logits_czyx: one channel for each class, background first.
        labels_zyx: codes, uint8: background, annotated classes, KNOWN_BACKGROUND.
        annotated: codes annotated in this case.

    Returns:
        merged logits (k, z, y, x) and their targets (z, y, x), int64. Channel 0 is the merged one, then follow the
        annotated classes in increasing order, then, unless every class is annotated, the strongest unlabeled class
        (minus infinity except at known background); it is never a target.
    """
    labeled = sorted(annotated)
    unlabeled = [code for code in range(1, logits_czyx.shape[0]) if code not in annotated]
    target = _target(labels_zyx, labeled)
    background = logits_czyx[BACKGROUND]
    if not unlabeled:
        return logits_czyx, target
    hardest = logits_czyx[unlabeled].max(dim=0).values
    known = labels_zyx == KNOWN_BACKGROUND
    merged = torch.where(known, background, torch.maximum(background, hardest))
    escaped = torch.where(known, hardest, -torch.inf)
    return torch.cat((merged[None], logits_czyx[labeled], escaped[None])), target


def _target(labels_zyx: Tensor, labeled: list[int]) -> Tensor:
    """Codes to channels; every other code is channel 0."""
    table = torch.zeros(KNOWN_BACKGROUND + 1, dtype=torch.int64, device=labels_zyx.device)
    for channel, code in enumerate(labeled, start=1):
        table[code] = channel
    return table[labels_zyx.long()]
