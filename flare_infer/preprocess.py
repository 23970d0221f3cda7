"""A scan to the model's grid, and the whole way back: the one preprocessing of the house."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flare_infer.geometry import Shape, Spacing, resampled_shape
from flare_infer.normalize import normalize
from flare_infer.orient import Reorientation, to_lps
from flare_infer.resample import resample_image
from flare_infer.spec import ModelSpec
from flare_infer.volume import Volume


@dataclass(frozen=True, kw_only=True)
class WayBack:
    """What must be undone to return from the model's grid to the scan's.

    Attributes:
        reorientation: how the scan was turned.
        turned_shape: its shape (z, y, x) after turning, before resampling.
    """

    reorientation: Reorientation
    turned_shape: Shape
    native_shape: Shape = (0, 0, 0)
    nearest_across: bool = False

    def turned_view(self, array_zyx: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.flip(array_zyx.transpose(self.reorientation.order), self.reorientation.flipped)


def preprocess(volume: Volume, spec: ModelSpec, device: torch.device) -> tuple[Tensor, WayBack]:
    """Turn to LPS, normalize, resample to the model's spacing (in this order, method-facts 6).

    Returns:
        the normalized image (z, y, x), float32 on `device`, and the way back.
    """
    turned, reorientation = to_lps(volume)
    # float32 at the scan's full size: 581 MB for 512 x 512 x 554.
    image_zyx = normalize(as_tensor(turned.array_zyx, device), spec.normalization)
    image_zyx = resample_image(image_zyx, model_shape(turned, spec.spacing_mm))
    return image_zyx, WayBack(reorientation=reorientation, turned_shape=turned.shape, native_shape=volume.shape)


def model_shape(turned: Volume, spacing_mm: Spacing) -> Shape:
    """Shape of a turned volume at the model's spacing."""
    return resampled_shape(turned.shape, turned.placement.spacing_mm, spacing_mm)


def as_tensor(array_zyx: npt.NDArray[Any], device: torch.device) -> Tensor:
    """A float32 tensor of an array of any number type and any strides."""
    return torch.from_numpy(np.ascontiguousarray(array_zyx, dtype=np.float32)).to(device)
