"""Hounsfield units to network input."""

from torch import Tensor

from flare_infer.spec import Normalization


def normalize(image_zyx: Tensor, normalization: Normalization) -> Tensor:
    """Clip, subtract the mean, divide by the standard deviation; float32, any shape.

    Values that are not numbers count as air.
    """
    clipped = image_zyx.float().nan_to_num(nan=normalization.clip_low_hu)
    clipped = clipped.clamp_(normalization.clip_low_hu, normalization.clip_high_hu)
    return clipped.sub_(normalization.mean_hu).div_(normalization.std_hu)
