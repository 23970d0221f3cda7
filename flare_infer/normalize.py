"""Hounsfield units to network input."""

from torch import Tensor

from flare_infer.spec import Normalization


def normalize(image_zyx: Tensor, normalization: Normalization) -> Tensor:
    """Clip, subtract the mean, divide by the standard deviation; float32, any shape.

    Values that are not numbers count as air.
    """
    return standardize(clip(image_zyx, normalization), normalization)


def clip(image_zyx: Tensor, normalization: Normalization) -> Tensor:
    """The first half: a new float32 tensor of any shape, clipped; values that are not numbers count as air."""
    clipped = image_zyx.float()
    if image_zyx.is_floating_point():
        clipped = clipped.nan_to_num(nan=normalization.clip_low_hu)  # a copy: what was float32 already is the caller's
    return clipped.clamp_(normalization.clip_low_hu, normalization.clip_high_hu)


def standardize(clipped_zyx: Tensor, normalization: Normalization) -> Tensor:
    """The second half, in place; as it is linear, interpolation may come before it."""
    return clipped_zyx.sub_(normalization.mean_hu).div_(normalization.std_hu)
