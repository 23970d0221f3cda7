"""Small filters of masks and slices; scipy has them, and takes longer to import than these to run."""

from functools import reduce
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Box

_SD: Final = 0.5
_REACH: Final = 2
"""Of a blur, in pixels: four standard deviations, rounded."""


def blurred(mask_yx: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """A mask as numbers, blurred by a Gaussian function of half a pixel; beyond its edges it goes on mirrored.

    Args:
        mask_yx: the mask (y, x).
    """
    blurred_yx = np.zeros(mask_yx.shape, dtype=np.float32)
    if not mask_yx.any():
        return blurred_yx
    # Farther away than the function reaches there is nothing to blur.
    near = tuple(
        slice(max(0, int(places[0]) - _REACH), int(places[-1]) + _REACH + 1)
        for places in (np.flatnonzero(mask_yx.any(axis=axis)) for axis in (1, 0))
    )
    bell = np.exp(-0.5 / _SD**2 * np.arange(_REACH + 1) ** 2)
    center, *sides = bell / (2 * bell.sum() - bell[0])
    values = mask_yx[near].astype(np.float32)
    for axis in (0, 1):
        windows = _windows(values.astype(np.float64), axis, _REACH, "symmetric")
        total = windows[_REACH] * center
        for step in range(_REACH, 0, -1):
            total += (windows[_REACH - step] + windows[_REACH + step]) * sides[step - 1]
        values = total.astype(np.float32)
    blurred_yx[near] = values
    return blurred_yx


def varies(codes_yx: npt.NDArray[np.uint8], reach: int) -> npt.NDArray[np.bool_]:
    """Where another code lies at most some pixels away, along rows, columns or both.

    Args:
        codes_yx: codes (y, x).
        reach: how many pixels.
    """
    lowest = highest = codes_yx
    for axis in (0, 1):
        lowest = reduce(np.minimum, _windows(lowest, axis, reach, "edge"))
        highest = reduce(np.maximum, _windows(highest, axis, reach, "edge"))
    found: npt.NDArray[np.bool_] = lowest != highest
    return found


def _windows(values: npt.NDArray[Any], axis: int, reach: int, beyond: Any) -> list[npt.NDArray[Any]]:
    """The values moved along an axis by every whole number of pixels up to a reach, to either side."""
    wide = np.pad(values, [(reach, reach) if each == axis else (0, 0) for each in (0, 1)], beyond)
    along = np.moveaxis(wide, axis, 0)
    return [np.moveaxis(along[start : start + values.shape[axis]], 0, axis) for start in range(2 * reach + 1)]


def largest_piece(mask_zyx: npt.NDArray[np.bool_], times: int) -> Box | None:
    """The box of the largest piece of a mask that is left when thin parts are taken off; None if nothing is left.

    Pieces hang together by faces.

    Args:
        mask_zyx: the mask (z, y, x); beyond its edges is nothing.
        times: how often voxels at the rim are taken off, before as many are put on again.
    """
    import cc3d  # not before a picture is drawn

    for is_outside in (True, False):
        for _ in range(times):
            mask_zyx = _with_rim(mask_zyx, is_outside=is_outside)
    # As numbers: of truth values cc3d 4.1 refuses masks of which every other voxel is set.
    parts = cc3d.connected_components(mask_zyx.view(np.uint8), connectivity=6)
    sizes = np.bincount(parts.ravel())[1:]
    return Box.around(parts == 1 + sizes.argmax()) if sizes.size else None


def _with_rim(mask_zyx: npt.NDArray[np.bool_], *, is_outside: bool) -> npt.NDArray[np.bool_]:
    """The mask grown by all voxels whose faces touch it; or what is outside of it grown so."""
    mask_zyx = np.pad(mask_zyx ^ is_outside, 1, constant_values=is_outside)
    grown = mask_zyx.copy()
    for axis in range(grown.ndim):
        along, before = np.moveaxis(grown, axis, 0), np.moveaxis(mask_zyx, axis, 0)
        along[1:] |= before[:-1]
        along[:-1] |= before[1:]
    kept: npt.NDArray[np.bool_] = grown[1:-1, 1:-1, 1:-1] ^ is_outside
    return kept
