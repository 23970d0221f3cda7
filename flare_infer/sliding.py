"""Run a network over windows and blend what it says."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from flare_infer.geometry import Shape, triple_of_ints
from flare_infer.windows import gaussian_importance, padded_shape, window_boxes


def sliding_logits(
    image_zyx: Tensor,
    network: nn.Module,
    *,
    classes: int,
    patch: Shape,
    step: float,
    fill: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Logits of a whole volume, blended with Gaussian importance.

    Args:
        image_zyx: normalized image (z, y, x) on the device of the network.
        network: maps (1, 1, *patch) to (1, classes, *patch).
        classes: output channels.
        patch: window size in voxels.
        step: distance between windows as a fraction of the patch.
        fill: the normalized intensity of air, with which a volume smaller than the patch is padded.
        progress: called with (windows done, windows in all) after each window.

    Returns:
        logits (classes, z, y, x), float32, of the image's shape.
    """
    shape = triple_of_ints(image_zyx.shape)
    padded = padded_shape(shape, patch)
    before = [(wide - narrow) // 2 for wide, narrow in zip(padded, shape, strict=True)]
    image_zyx = functional.pad(image_zyx, _pad_argument(shape, padded, before), value=fill)
    importance = gaussian_importance(patch, image_zyx.device)
    boxes = window_boxes(padded, patch, step)

    # classes x model grid in float32: 15 x 133 x 239 x 239 at the coarse spacing is 456 MB.
    total_czyx = torch.zeros((classes, *padded), device=image_zyx.device)
    weight_zyx = torch.zeros(padded, device=image_zyx.device)
    with torch.inference_mode():
        for done, box in enumerate(boxes, start=1):
            logits = network(image_zyx[box][None, None])[0].float()
            total_czyx[(slice(None), *box)].addcmul_(logits, importance)
            weight_zyx[box] += importance
            progress(done, len(boxes))
        total_czyx /= weight_zyx
    inside = tuple(slice(start, start + length) for start, length in zip(before, shape, strict=True))
    return total_czyx[(slice(None), *inside)]


def _pad_argument(shape: Shape, padded: Shape, before: list[int]) -> list[int]:
    """PyTorch counts padding from the last axis, before and after each."""
    argument = []
    for axis in (2, 1, 0):
        argument += [before[axis], padded[axis] - shape[axis] - before[axis]]
    return argument
