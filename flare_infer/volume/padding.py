"""Padding: voxels that no scanner measured, in planes around a scan or in the corners of its grid."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Box

_COARSE: Final = 8
"""In planes that may be padding every eighth voxel along each axis is compared before all are."""

_BRIGHT_HU: Final = -500.0
"""Padding that is no brighter is air to a network already."""

_LEAST_SHARE: Final = 0.01
"""A value that lies in a corner of a grid is padding if it fills at least this share of the grid in one piece."""


def without_padding(array_zyx: npt.NDArray[Any]) -> Box:
    """The box that is left of a scan without the outer planes in which every voxel holds one value.

    Planes are taken from every side until none is left that holds one value (NaN is one, too): whatever a scan was
    padded with, and on however many sides, the same box of voxels is left. A scan of nothing else is left whole.

    Args:
        array_zyx: the scan (z, y, x), in any orientation.
    """
    whole = Box.at((0, 0, 0), array_zyx.shape)
    box = list(whole)
    taken = 1
    while taken:
        taken = 0
        for axis in range(array_zyx.ndim):
            for toward in (1, -1):
                planes = np.moveaxis(array_zyx[tuple(box)], axis, 0)[::toward]
                count = _constant_planes(planes)
                if count == len(planes):
                    return whole
                start, stop = box[axis].start, box[axis].stop
                box[axis] = slice(start + count, stop) if toward > 0 else slice(start, stop - count)
                taken += count
    return Box(*box)


def bright_padding(samples_zyx: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Mask of the padding that looks like tissue, as zeros do, in the corners of a turned grid or of a masked scan.

    Args:
        samples_zyx: a scan, or samples of one at equal steps along each axis.
    """
    import cc3d  # not before a scan is there

    corners = samples_zyx[np.ix_(*((0, -1),) * 3)].ravel()
    values, counts = np.unique(corners[corners > _BRIGHT_HU], return_counts=True)
    found = np.zeros(samples_zyx.shape, dtype=np.bool_)
    for value in values[counts > 1]:
        same = samples_zyx == value
        if same.mean() < _LEAST_SHARE or same.all():
            continue
        parts = cc3d.connected_components(same, connectivity=6)
        sizes = np.bincount(parts.ravel())
        in_corners = np.unique(parts[np.ix_(*((0, -1),) * 3)])
        kept = [part for part in in_corners if part and sizes[part] >= _LEAST_SHARE * same.size]
        found |= np.isin(parts, kept)
    return found


def _constant_planes(planes: npt.NDArray[Any]) -> int:
    """How many planes from the first one on hold nothing but the value of its first voxel."""
    value = planes[0, 0, 0]
    if not _holds(planes[0, ::_COARSE, ::_COARSE], value).all():
        return 0
    coarse = _holds(planes[:, ::_COARSE, ::_COARSE], value).all(axis=(1, 2))
    most = len(planes) if coarse.all() else int(coarse.argmin())
    # Row by row of the array as it lies in memory, so that no copy of many planes is made.
    for row in range(planes.shape[1] if most else 0):
        same = _holds(planes[:most, row], value).all(axis=1)
        most = most if same.all() else int(same.argmin())
        if not most:
            break
    return most


def _holds(values: npt.NDArray[Any], value: Any) -> npt.NDArray[np.bool_]:
    same: npt.NDArray[np.bool_] = np.isnan(values) if value != value else values == value  # noqa: PLR0124 - NaN
    return same
