"""The same loss at every resolution of the decoder."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from train.loss.partial import PartialLoss, partial_loss


def supervision_weights(stages: int) -> list[float]:
    """1, 1/2, 1/4, ... divided by their sum; full resolution first."""
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
        stages_nczyx: logits of each stage, full resolution first.
        labels_nzyx: codes at full resolution, uint8; brought to each stage by nearest neighbor.
        annotated: annotated codes of each sample.
        class_weights: weight of each class in the cross-entropy, as in `partial_loss`.
        method: how classes that are not annotated are treated.
    """
    total = labels_nzyx.new_zeros((), dtype=stages_nczyx[0].dtype).float()
    for weight, logits_nczyx in zip(supervision_weights(len(stages_nczyx)), stages_nczyx, strict=True):
        smaller = functional.interpolate(labels_nzyx[:, None], size=logits_nczyx.shape[2:], mode="nearest-exact")
        total = total + weight * partial_loss(logits_nczyx, smaller[:, 0], annotated, class_weights, method)
    return total
