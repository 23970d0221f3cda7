"""To another grid over the same field of view."""

from torch import Tensor
from torch.nn import functional

from flare_infer.geometry import Shape


def resample_image(image_zyx: Tensor, shape: Shape) -> Tensor:
    """Trilinear, corners not aligned, no antialiasing: the interpolation the paper's models are trained with.

    Args:
        image_zyx: float image (z, y, x).
        shape: wanted shape; an equal one returns the same values.
    """
    if tuple(image_zyx.shape) == shape:
        return image_zyx
    return functional.interpolate(image_zyx[None, None], size=shape, mode="trilinear", align_corners=False)[0, 0]


def resample_labels(labels_zyx: Tensor, shape: Shape) -> Tensor:
    """Nearest voxel center: labels (z, y, x) of type uint8 stay codes."""
    if tuple(labels_zyx.shape) == shape:
        return labels_zyx
    return functional.interpolate(labels_zyx[None, None], size=shape, mode="nearest-exact")[0, 0]
