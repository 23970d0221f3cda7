"""nnU-Net's default resampling of images: splines, and plane by plane where slices are thick."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Shape, Spacing
from flare_infer.model.spec import Interpolation

THICK: Final = 3.0
"""Slices are thick if the largest spacing is more than this many times the smallest."""


def resample_spline(
    image_zyx: npt.NDArray[Any], shape: Shape, old_mm: Spacing, new_mm: Spacing, interpolation: Interpolation
) -> npt.NDArray[np.float32]:
    """An image on another grid over the same field of view, as nnU-Net's `resample_data_or_seg_to_shape` gives it.

    A spline overshoots at edges; like nnU-Net, values are kept within the range of the image (of the plane, where it
    works plane by plane). Computed in float64.

    Args:
        image_zyx: the image (z, y, x).
        shape: wanted shape; an equal one returns the same values.
        old_mm: spacing of the image.
        new_mm: wanted spacing; with `old_mm` it decides only whether slices are thick.
        interpolation: order of the spline, and what to do across thick slices.

    Returns:
        float32 (z, y, x) of `shape`.
    """
    if image_zyx.shape == shape:
        return image_zyx.astype(np.float32, copy=False)
    axis = None if interpolation.order_across is None else thick_axis(old_mm, new_mm)
    if axis is None:
        return _resize(image_zyx, shape, interpolation.order).astype(np.float32)

    # Plane by plane: a spline within each slice, and across the slices, which are too far apart for a spline, the
    # nearest one or a mixture of two.
    in_plane = tuple(length for other, length in enumerate(shape) if other != axis)
    planes = np.moveaxis(image_zyx, axis, 0)
    # float64 in the plane's new shape, float32 only at the end: across slices nothing is rounded before.
    resized = np.stack([_resize(plane, in_plane, interpolation.order) for plane in planes])
    resized = _across(resized, shape[axis], interpolation.order_across or 0)
    return np.ascontiguousarray(np.moveaxis(resized, 0, axis), dtype=np.float32)


def thick_axis(old_mm: Spacing, new_mm: Spacing) -> int | None:
    """The axis across slices so thick that nnU-Net resamples plane by plane; None if there is none.

    The old spacing decides if it is anisotropic, otherwise the new one. Two axes of the largest spacing are no slices.
    """
    for spacing_mm in (old_mm, new_mm):
        largest = max(spacing_mm)
        if largest / min(spacing_mm) > THICK:
            axes = [axis for axis, value in enumerate(spacing_mm) if value == largest]
            return axes[0] if len(axes) == 1 else None
    return None


def _resize(values: npt.NDArray[Any], shape: tuple[int, ...], order: int) -> npt.NDArray[np.float64]:
    """A spline through voxels as cells, the last value repeated outside, kept within the range of the values."""
    from scipy import ndimage  # here: most models never need it, and every start of a process would pay for it

    values = values.astype(np.float64)
    factors = [1 / (old / new) for old, new in zip(values.shape, shape, strict=True)]
    resized: npt.NDArray[np.float64] = ndimage.zoom(values, factors, order=order, mode="nearest", grid_mode=True)
    np.clip(resized, np.nanmin(values), np.nanmax(values), out=resized)
    return resized


def _across(planes: npt.NDArray[np.float64], count: int, order: int) -> npt.NDArray[np.float64]:
    """`count` planes from those given: the nearest ones, or mixtures of two neighbors."""
    source = planes.shape[0]
    if source == count:
        return planes
    # Centers of the wanted planes, counted in given planes; cells of both grids cover the same extent.
    place = np.clip(source / count * (np.arange(count) + 0.5) - 0.5, 0, source - 1)
    if order == 0:
        nearest: npt.NDArray[np.float64] = planes[np.floor(place + 0.5).astype(int)]
        return nearest
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, source - 1)
    weight = (place - below)[:, None, None]
    mixed: npt.NDArray[np.float64] = planes[below] * (1 - weight) + planes[above] * weight
    return mixed
