"""To another grid over the same field of view."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from flare_infer.backends.cores import one_thread
from flare_infer.geometry import Shape, triple_of_ints

_NOT_FLIPPED: Final = ("uint16", "uint32", "uint64")
"""Types in which torch flips nothing."""

SLAB_PLANES: Final = 4
"""Planes of the result that are made at a time: two times 4 MB in float32 for 512 x 512, so that caches hold them."""


def resample_image(image_zyx: Tensor, shape: Shape) -> Tensor:
    """Trilinear, corners not aligned, no antialiasing: the interpolation the paper's models are trained with.

    Args:
        image_zyx: float image (z, y, x).
        shape: wanted shape; an equal one returns the same values.
    """
    if tuple(image_zyx.shape) == shape:
        return image_zyx
    return functional.interpolate(image_zyx[None, None], size=shape, mode="trilinear", align_corners=False)[0, 0]


def resample_stored(
    array_zyx: npt.NDArray[Any], shape: Shape, device: torch.device, to_float: Callable[[Tensor], Tensor]
) -> Tensor:
    """`resample_image` of what `to_float` makes of a stored array, without its full-size float copy.

    Planes are taken across the axis that is slowest in memory: each plane of the result needs two of the source, which
    are turned to float, blended, and interpolated within the plane. Equal to the interpolation of the whole array but
    for the rounding of float32.

    Args:
        array_zyx: numbers of any type and any strides (z, y, x).
        shape: wanted shape (z, y, x).
        device: device that computes; planes are sent there in their stored type.
        to_float: makes planes (n, rows, columns) of the stored type, on `device`, a new float32 tensor.

    Returns:
        float32 image (z, y, x) on `device`.
    """
    strides = array_zyx.strides
    memory = sorted(range(3), key=lambda axis: -abs(strides[axis]))  # the axes, from slowest to fastest
    source, wanted = array_zyx.transpose(memory), triple_of_ints([shape[axis] for axis in memory])
    # Each wanted plane lies between two stored ones, at a fraction of their distance.
    below, above, fraction = _neighbors(source.shape[0], wanted[0])
    out = torch.empty(wanted, dtype=torch.float32, device=device)
    with one_thread():  # 0.04 s for the slabs of a scan, with two threads 0.03 s, and seconds on a busy machine
        for start in range(0, wanted[0], SLAB_PLANES):
            # Blended across planes first, then interpolated within them. Only the stored planes of a slab are turned to
            # float, so that no float array of the scan's size ever exists.
            planes = slice(start, start + SLAB_PLANES)
            slab = to_float(_planes(source, below[planes], device))
            if fraction[planes].any():
                weight = torch.from_numpy(fraction[planes]).to(device)[:, None, None]
                slab.lerp_(to_float(_planes(source, above[planes], device)), weight)
            if slab.shape[1:] != wanted[1:]:
                slab = functional.interpolate(slab[None], size=wanted[1:], mode="bilinear", align_corners=False)[0]
            out[planes] = slab
    return out.permute(*np.argsort(memory).tolist()).contiguous()


def resample_labels(labels_zyx: Tensor, shape: Shape) -> Tensor:
    """Nearest voxel center: labels (z, y, x) of type uint8 stay codes."""
    if tuple(labels_zyx.shape) == shape:
        return labels_zyx
    return functional.interpolate(labels_zyx[None, None], size=shape, mode="nearest-exact")[0, 0]


def _neighbors(source: int, target: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """For each target plane the two source planes about it and the weight of the upper one (corners not aligned).

    In float32 as PyTorch computes them: at plane 500, float64 would give weights that differ in the fifth digit.
    """
    scale = np.float32(source) / np.float32(target)
    center = np.maximum(scale * (np.arange(target, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
    below = np.minimum(center.astype(np.intp), source - 1)
    above = np.minimum(below + 1, source - 1)
    return below, above, (center - below).astype(np.float32)


def _planes(source: npt.NDArray[Any], indices: npt.NDArray[np.intp], device: torch.device) -> Tensor:
    """Some planes of the source on the device, in the stored type."""
    backward = tuple(axis for axis in (1, 2) if source.strides[axis] < 0)
    # Gathered as they lie in memory and flipped after that: numpy gathers backward rows several times slower.
    gathered = np.ascontiguousarray(np.flip(source, backward)[indices])
    if backward and gathered.dtype in _NOT_FLIPPED:
        return torch.from_numpy(np.ascontiguousarray(np.flip(gathered, backward))).to(device)
    planes = torch.from_numpy(gathered)
    if device.type == "cuda":
        # From pinned memory the copy runs while the next planes are gathered.
        planes = planes.pin_memory().to(device, non_blocking=True)
    return planes.flip(backward) if backward else planes
