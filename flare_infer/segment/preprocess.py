"""A scan to the model's grid, and the whole way back: the one preprocessing of the house."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flare_infer.geometry import Shape, resampled_shape
from flare_infer.model.spec import Interpolation, ModelSpec, Normalization
from flare_infer.segment.resample import resample_stored
from flare_infer.segment.spline import resample_spline, thick_axis
from flare_infer.volume.orient import Reorientation
from flare_infer.volume.volume import Volume


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


@dataclass(frozen=True, kw_only=True)
class WayBack:
    """What must be undone to return from the model's grid to the scan's; it holds no voxels.

    Attributes:
        reorientation: rotation and flips by which the scan was turned.
        turned_shape: shape (z, y, x) of the scan after turning, before resampling.
        nearest_axis: axis (z, y, x) along which logits are not interpolated, the nearest voxel counts; None for most.
    """

    reorientation: Reorientation
    turned_shape: Shape
    nearest_axis: int | None = None

    @classmethod
    def of(cls, turned: Volume, reorientation: Reorientation, spec: ModelSpec) -> Self:
        """The way back to a scan that was turned as a model wants it."""
        by_planes = spec.logits_interpolation.order_across == 0
        axis = thick_axis(spec.spacing_mm, turned.placement.spacing_mm) if by_planes else None
        return cls(reorientation=reorientation, turned_shape=turned.shape, nearest_axis=axis)

    def voxels(self, found: npt.NDArray[np.int64], model_shape: Sequence[int]) -> npt.NDArray[np.int64]:
        """Index (n, 3) of the voxel of the scan in which the center of each voxel (n, 3) of the model's grid lies.

        Args:
            found: the voxels.
            model_shape: shape (z, y, x) of the model's grid.
        """
        return self.reorientation.undo_indices(voxels_on_grid(found, model_shape, self.turned_shape), self.turned_shape)


def voxels_on_grid(
    found: npt.NDArray[np.int64], model_shape: Sequence[int], shape: Sequence[int]
) -> npt.NDArray[np.int64]:
    """The same between two grids with the same field of view.

    Args:
        found: voxels (n, 3) of the first one.
        model_shape: its shape.
        shape: shape of the second one.
    """
    scale = np.divide(shape, model_shape)
    return np.minimum(((found + 0.5) * scale).astype(np.int64), np.subtract(shape, 1))


def preprocess(turned: Volume, spec: ModelSpec, device: torch.device) -> Tensor:
    """Clip a scan, resample it to the model's spacing, and standardize it (docs/paper.md, Preprocessing).

    The scan may be dropped afterwards: what is returned does not hold on to its voxels.

    Args:
        turned: the scan, turned to the model's axes.
        spec: the model.
        device: device on which the image is needed.

    Returns:
        the normalized image (z, y, x), float32 on `device`.
    """
    image_zyx = on_model_grid(turned, spec, device, lambda planes: clip(planes, spec.normalization))
    return standardize(image_zyx, spec.normalization)


def on_model_grid(
    turned: Volume, spec: ModelSpec, device: torch.device, to_float: Callable[[Tensor], Tensor]
) -> Tensor:
    """What `to_float` makes of the stored values of a turned scan, resampled to the model's spacing.

    Returns:
        the image (z, y, x), float32 on `device`.
    """
    spacing_mm = turned.placement.spacing_mm
    shape = resampled_shape(turned.shape, spacing_mm, spec.spacing_mm)
    if spec.image_interpolation == Interpolation():
        return resample_stored(turned.array_zyx, shape, device, to_float)
    # Only models of nnU-Net ask for this: splines over the whole scan, in float64.
    values_zyx = to_float(torch.from_numpy(np.ascontiguousarray(turned.array_zyx))).numpy()
    resampled = resample_spline(values_zyx, shape, spacing_mm, spec.spacing_mm, spec.image_interpolation)
    return torch.from_numpy(resampled).to(device)
