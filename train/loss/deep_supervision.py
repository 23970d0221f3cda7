"""The same loss at every resolution of the decoder."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from train.loss.partial import PartialLoss, partial_loss


def supervision_weights(stages: int) -> list[float]:
    """Weights of the decoder stages, full resolution first: 1, 1/2, 1/4, ... divided by their sum."""
    total = 2 - 0.5 ** (stages - 1)
    return [0.5**stage / total for stage in range(stages)]


def deep_supervision_loss(
    stages_nczyx: Sequence[Tensor],
    labels_nzyx: Tensor,
    annotated: Sequence[tuple[int, ...]],
    class_weights: Sequence[float] | None = None,
    method: PartialLoss = "merge_max",
) -> Tensor:
    """Weighted sum of the partial loss over the decoder's stages.

    Args:
        stages_nczyx: logits (n, classes, z, y, x) of each stage, full resolution first.
        labels_nzyx: codes (n, z, y, x) at full resolution, uint8; resampled to each stage by nearest neighbor.
        annotated: codes that each sample annotates.
        class_weights: weight of each class in the cross-entropy, as in `partial_loss`.
        method: treatment of classes that are not annotated.
    """
    total = labels_nzyx.new_zeros((), dtype=stages_nczyx[0].dtype).float()
    for weight, logits_nczyx in zip(supervision_weights(len(stages_nczyx)), stages_nczyx, strict=True):
        smaller = functional.interpolate(labels_nzyx[:, None], size=logits_nczyx.shape[2:], mode="nearest-exact")
        total = total + weight * partial_loss(logits_nczyx, smaller[:, 0], annotated, class_weights, method)
    return total
