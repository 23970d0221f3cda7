"""The voxels inside of the contours of a DICOM structure set, on the grid of the CT that they were drawn on."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from flare_infer.dicom.elements import damage_reported
from flare_infer.dicom.segments import OFF_VOXELS, on_grid
from flare_infer.dicom.structures import DrawnObject, is_closed, items, read_dataset
from flare_infer.errors import ImageError, MissingExtraError
from flare_infer.geometry import Shape
from flare_infer.volume.volume import Placement

_FINER: Final = 8
"""Contours are drawn on a grid finer by this factor, of which every eighth point is the center of a voxel."""

_INSIDE: Final = 1
_ON_CONTOUR: Final = 2


def contour_voxels(
    drawn: DrawnObject, numbers: Sequence[int], placement: Placement, shape: Shape
) -> dict[int, npt.NDArray[np.int64]]:
    """The voxels of regions of interest.

    Args:
        drawn: the structure set.
        numbers: numbers of the regions.
        placement: where the CT lies.
        shape: its number of voxels along (z, y, x).

    Returns:
        for each number the flat indices of the region's voxels in an array of that shape, in increasing order.

    Raises:
        ImageError: if contours do not lie in slices of the CT, or it cannot be read.
    """
    with damage_reported():
        header = read_dataset(drawn.path)
        regions = {int(one.ReferencedROINumber): one for one in items(header, "ROIContourSequence")}
        voxels = {}
        for number in numbers:
            mask_zyx = np.zeros(shape, np.bool_)
            by_slice: dict[int, list[npt.NDArray[np.float64]]] = {}
            for contour in items(regions.get(number), "ContourSequence"):
                if is_closed(contour):
                    points = np.asarray(contour.ContourData, np.float64).reshape(-1, 3)
                    index, points_yx = _in_slice(points, placement, shape)
                    by_slice.setdefault(index, []).append(points_yx)
            for index, contours_yx in by_slice.items():
                mask_zyx[index] = filled(contours_yx, (shape[1], shape[2]))
            voxels[number] = np.flatnonzero(mask_zyx)
        return voxels


def _in_slice(
    points_mm: npt.NDArray[np.float64], placement: Placement, shape: Shape
) -> tuple[int, npt.NDArray[np.float64]]:
    """The slice that a contour lies in, and its points there, as (y, x) in voxels."""
    points_zyx = on_grid(points_mm - placement.origin_mm, placement)
    index = round(float(points_zyx[:, 0].mean()))
    if np.abs(points_zyx[:, 0] - index).max() > OFF_VOXELS:
        raise ImageError("has contours between the slices of the CT; was it drawn on another series?")
    if not 0 <= index < shape[0]:
        raise ImageError("reaches beyond the CT; was it drawn on another series?")
    return index, points_zyx[:, 1:]


def filled(contours_yx: Sequence[npt.NDArray[np.float64]], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The voxels of one slice whose centers lie inside of contours, or on one.

    Inside is what an odd number of contours encloses: a contour within another one is a hole, as the standard has it
    for both of its types. A keyhole, one line that runs to the hole and back, comes out as the same hole. What a
    contour runs through belongs to the structure, since many programs draw from center to center.

    Args:
        contours_yx: points (y, x) of each contour, in voxels.
        shape: rows and columns of the slice.

    Raises:
        MissingExtraError: if Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise MissingExtraError('contours are filled with Pillow: pip install "flare-infer[picture]"') from error
    inside, touched = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    for points_yx in contours_yx:
        low = np.clip(np.floor(points_yx.min(axis=0)), 0, shape).astype(int)
        high = np.clip(np.ceil(points_yx.max(axis=0)) + 1, 0, shape).astype(int)
        if (high <= low).any():
            continue
        rows, columns = ((high - low - 1) * _FINER + 1).tolist()
        picture = Image.new("L", (columns, rows))
        corners = [(x, y) for y, x in np.rint((points_yx - low) * _FINER).astype(int).tolist()]
        draw = ImageDraw.Draw(picture)
        if len(set(corners)) > 2:
            draw.polygon(corners, fill=_INSIDE)
        draw.line([*corners, corners[0]], fill=_ON_CONTOUR)
        box = slice(low[0], high[0]), slice(low[1], high[1])
        values = np.asarray(picture)[::_FINER, ::_FINER]
        inside[box] ^= values == _INSIDE
        touched[box] |= values == _ON_CONTOUR
    return inside | touched
