"""Classes that are not annotated counted as background: a baseline that ignores which classes a case annotates."""

from collections.abc import Collection

from torch import Tensor

from train.loss.channels import Channels, channel_targets


def background(logits_czyx: Tensor, labels_zyx: Tensor, annotated: Collection[int]) -> Channels:
    """Judge every class in every case; a class that is not annotated has no voxel there.

    Args:
        logits_czyx: logits (classes, z, y, x), background first.
        labels_zyx: codes (z, y, x), uint8.
        annotated: codes annotated in this case; any other code counts as background.
    """
    target = channel_targets(labels_zyx, {code: code for code in annotated})
    return Channels(logits_kzyx=logits_czyx, target_zyx=target, codes=tuple(range(1, logits_czyx.shape[0])))
