"""The channels in which a partially annotated case is judged: merge-max (docs/paper.md, Merge-max), and baselines."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from flare_infer.labels import BACKGROUND, KNOWN_BACKGROUND
from train.loss.channels import Channels, channel_targets


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
    return _merged(logits_czyx, labels_zyx, annotated, lambda others: others.max(dim=0).values, torch.maximum)


def marginal(logits_czyx: Tensor, labels_zyx: Tensor, annotated: Collection[int]) -> Channels:
    """Sum the probabilities of background and the classes that are not annotated: marginal loss, a baseline.

    Arguments and channels are those of `merge_max`, with the logarithm of a sum of exponentials, computed in float32,
    in place of the maximum.
    """
    logits = logits_czyx.float()
    return _merged(logits, labels_zyx, annotated, lambda others: others.logsumexp(dim=0), torch.logaddexp)


def background(logits_czyx: Tensor, labels_zyx: Tensor, annotated: Collection[int]) -> Channels:
    """Count classes that are not annotated as background: a baseline that judges every class in every case.

    Arguments are those of `merge_max`; a class that is not annotated has no voxel.
    """
    target = channel_targets(labels_zyx, {code: code for code in annotated})
    return Channels(logits_kzyx=logits_czyx, target_zyx=target, codes=tuple(range(1, logits_czyx.shape[0])))


def _merged(
    logits_czyx: Tensor,
    labels_zyx: Tensor,
    annotated: Collection[int],
    among: Callable[[Tensor], Tensor],
    of_two: Callable[[Tensor, Tensor], Tensor],
) -> Channels:
    """The channels of `merge_max`, where `among` and `of_two` merge the logits of several classes and of two."""
    labeled = sorted(annotated)
    unlabeled = [code for code in range(1, logits_czyx.shape[0]) if code not in annotated]
    target = channel_targets(labels_zyx, {code: channel for channel, code in enumerate(labeled, start=1)})
    if not unlabeled:
        return Channels(logits_kzyx=logits_czyx, target_zyx=target, codes=tuple(labeled))
    nothing, others = logits_czyx[BACKGROUND], among(logits_czyx[unlabeled])
    known = labels_zyx == KNOWN_BACKGROUND
    merged = torch.where(known, nothing, of_two(nothing, others))
    escaped = torch.where(known, others, -torch.inf)
    logits_kzyx = torch.cat((merged[None], logits_czyx[labeled], escaped[None]))
    return Channels(logits_kzyx=logits_kzyx, target_zyx=target, codes=tuple(labeled))
