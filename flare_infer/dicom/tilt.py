"""Slices of a tilted gantry: shifted within their planes until they lie upright behind each other, and labels back.

A tilted gantry leaves slices of which each is shifted against the one before. Shifted back by parts of a pixel, by
linear interpolation along rows or columns, they fill a grid with right angles: its slices are the source's, in the same
planes, with air beside them. Labels of that grid return to the pixels of the source by the nearest pixel.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from flare_infer.dicom.pixels import AIR_HU
from flare_infer.dicom.series import Series

_Label = TypeVar("_Label", bound=np.generic)
_ROUNDING: Final = 1e-6
"""Of a pixel: by less nothing is shifted."""


@dataclass(frozen=True, kw_only=True)
class Upright:
    """Where slices lie on a grid with right angles.

    Attributes:
        shape: rows and columns of that grid.
        offsets: for each slice of the volume (n, 2) the row and the column at which its first pixel lies; not whole.
    """

    shape: tuple[int, int]
    offsets: npt.NDArray[np.float64]


def upright_of(series: Series) -> Upright:
    """The grid of a series; that of its slices if the gantry was not tilted."""
    first, last = series.slices[0], series.slices[-1]
    rows, columns = first.pixels.shape
    offsets = np.zeros((series.count, 2))
    if series.tilt_deg:
        way_mm = np.subtract(last.position_mm, first.position_mm)
        axes = np.asarray((first.axes[3:], first.axes[:3]))
        offsets += np.linspace(0, 1, series.count)[:, None] * (axes @ way_mm / first.spacing_mm)
        offsets -= offsets.min(axis=0)
    more_rows, more_columns = np.ceil(offsets.max(axis=0) - _ROUNDING).astype(int).tolist()
    return Upright(shape=(rows + more_rows, columns + more_columns), offsets=offsets)


def upright_plane(plane_yx: npt.NDArray[Any], upright: Upright, index: int) -> npt.NDArray[Any]:
    """A slice on the upright grid, air around it.

    Args:
        plane_yx: the slice in Hounsfield units.
        upright: the grid.
        index: which slice of the volume it is.

    Returns:
        array of `upright.shape` and of the type of the slice.
    """
    if plane_yx.shape == upright.shape:
        return plane_yx
    above_air = plane_yx.astype(np.float32) - AIR_HU
    for axis, (offset, length) in enumerate(zip(upright.offsets[index], upright.shape, strict=True)):
        above_air = _shifted(above_air, float(offset), length, axis)
    moved = above_air + AIR_HU
    return (np.rint(moved) if plane_yx.dtype.kind == "i" else moved).astype(plane_yx.dtype)


def _shifted(values_yx: npt.NDArray[np.float32], offset: float, length: int, axis: int) -> npt.NDArray[np.float32]:
    """Values moved along an axis by parts of a pixel, onto so many pixels; zero beside them."""
    start = math.floor(offset + _ROUNDING)
    part = np.float32(max(offset - start, 0.0))
    source = np.moveaxis(values_yx, axis, 0)
    moved = np.zeros((length, source.shape[1]), np.float32)
    moved[start : start + len(source)] = source * (1 - part)
    if part > _ROUNDING:
        moved[start + 1 : start + 1 + len(source)] += source * part
    return np.moveaxis(moved, 0, axis)


def labels_on_slices(labels_zyx: npt.NDArray[_Label], series: Series) -> npt.NDArray[_Label]:
    """Labels of the volume of a series, as `read_series` gives it, on the pixels of its slices.

    Args:
        labels_zyx: labels on the grid of the volume.
        series: the series; nothing is changed if its gantry was not tilted.

    Returns:
        labels (slices, rows, columns): those of slice i lie on the pixels of slice i, at the position that its file
        gives; an interpolated slice included.

    Raises:
        ValueError: if the labels are not of that volume.
    """
    upright = upright_of(series)
    if labels_zyx.shape != (series.count, *upright.shape):
        raise ValueError(f"labels of shape {labels_zyx.shape}, expected {(series.count, *upright.shape)}")
    if not series.tilt_deg:
        return labels_zyx
    rows, columns = (np.arange(size) for size in series.slices[0].pixels.shape)
    whole = np.rint(upright.offsets).astype(int).tolist()
    return np.stack(
        [plane[rows[:, None] + row, columns + column] for plane, (row, column) in zip(labels_zyx, whole, strict=True)]
    )
