"""Marginal loss, a baseline: probabilities of background and of the classes that are not annotated are summed."""

from collections.abc import Collection

import torch
from torch import Tensor

from flare_infer.labels import BACKGROUND, KNOWN_BACKGROUND
from train.loss.channels import Channels, channel_of_code, channel_targets, unlabeled_codes


def marginal(logits_czyx: Tensor, labels_zyx: Tensor, annotated: Collection[int]) -> Channels:
    """Sum the probabilities of background and the classes that are not annotated.

    Arguments and channels are those of `merge_max`, with the logarithm of a sum of exponentials, computed in float32,
    in place of the maximum.
    """
    labeled = sorted(annotated)
    unlabeled = unlabeled_codes(logits_czyx.shape[0], labeled)
    target = channel_targets(labels_zyx, channel_of_code(labeled))
    if not unlabeled:
        return Channels(logits_kzyx=logits_czyx, target_zyx=target, codes=tuple(labeled))
    logits = logits_czyx.float()
    background = logits[BACKGROUND]
    others = logits[unlabeled].logsumexp(dim=0)
    known = labels_zyx == KNOWN_BACKGROUND
    merged = torch.where(known, background, torch.logaddexp(background, others))
    escaped = torch.where(known, others, -torch.inf)
    logits_kzyx = torch.cat((merged[None], logits[labeled], escaped[None]))
    return Channels(logits_kzyx=logits_kzyx, target_zyx=target, codes=tuple(labeled))
