"""Pixels of DICOM files as Hounsfield units."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.dicom.decode import stored_frames
from flare_infer.dicom.elements import IsalError
from flare_infer.dicom.slices import Pixels, Slice
from flare_infer.errors import ImageError

_MOST_SLOPE: Final = 2**13
_MOST_INTERCEPT: Final = 2**24

AIR_HU: Final = -1024
"""What pixels become that their file marks as lying outside of the image."""

INT16: Final = np.iinfo(np.int16)


def read_planes(slices: Sequence[Slice]) -> Iterator[npt.NDArray[Any]]:
    """Slices of one file as arrays (y, x) in Hounsfield units: int16 or int32 if they are whole numbers, else float32.

    Padding becomes air, whatever its value. Bits of a stored value that hold none of it are passed over, which ITK does
    before it looks for padding.

    Raises:
        ImageError: if they cannot be read; the text names neither the file nor anything in it.
    """
    if slices[0].pixels.trouble:
        raise ImageError(f"a slice {slices[0].pixels.trouble}")
    try:
        for one, stored_yx in zip(slices, stored_frames(slices), strict=True):
            yield _in_hounsfield(stored_yx, one)
    except (OSError, ValueError, MemoryError, IsalError) as error:
        raise ImageError(f"a slice cannot be read ({type(error).__name__})") from error


def is_whole(one: Slice) -> bool:
    """Whether the Hounsfield units of a slice are whole numbers, none of them too large for 32 bits."""
    return (
        (one.slope.is_integer() and abs(one.slope) <= _MOST_SLOPE)
        and (one.intercept.is_integer() and abs(one.intercept) <= _MOST_INTERCEPT)
        and one.pixels.bits_allocated <= 16
    )


def _in_hounsfield(stored_yx: npt.NDArray[Any], one: Slice) -> npt.NDArray[Any]:
    numbers_yx = _numbers(stored_yx, one.pixels)
    hounsfield_yx: npt.NDArray[Any]
    if is_whole(one):
        hounsfield_yx = _whole(numbers_yx, int(one.slope), int(one.intercept))
    else:
        hounsfield_yx = (numbers_yx * one.slope + one.intercept).astype(np.float32)
    if one.pixels.padding is not None:
        outside = _outside(one.pixels, stored_yx, numbers_yx)
        np.minimum(hounsfield_yx, AIR_HU, out=hounsfield_yx, where=outside)
    return hounsfield_yx


def _numbers(stored_yx: npt.NDArray[Any], pixels: Pixels) -> npt.NDArray[Any]:
    """The numbers that the bits mean that are used."""
    unused = pixels.bits_allocated - pixels.bits_stored
    if not pixels.signed:
        return stored_yx & stored_yx.dtype.type(2**pixels.bits_stored - 1) if unused else stored_yx
    signed = np.dtype(f"i{pixels.bits_allocated // 8}")
    # Moved up and down again, the highest bit that is used fills those above.
    return (stored_yx << unused).view(signed) >> unused if unused else stored_yx.view(signed)


def _whole(numbers_yx: npt.NDArray[Any], slope: int, intercept: int) -> npt.NDArray[Any]:
    """Rescaled numbers: int16 if that holds them, else int32."""
    ends = [int(end) * slope + intercept for end in (numbers_yx.min(), numbers_yx.max())]
    fit = INT16.min <= min(ends) and max(ends) <= INT16.max
    # What does not fit on the way is wrapped round twice.
    hounsfield_yx: npt.NDArray[Any] = numbers_yx.astype(np.int16 if fit else np.int32)
    if slope != 1:
        hounsfield_yx *= slope
    hounsfield_yx += (intercept - INT16.min) % 2**16 + INT16.min if fit else intercept
    return hounsfield_yx


def _outside(pixels: Pixels, stored_yx: npt.NDArray[Any], numbers_yx: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which pixels bear the mark of padding: it may lie beyond the bits that are used, and have the other sign.

    Args:
        pixels: how they are stored.
        stored_yx: all bits of each, as unsigned numbers.
        numbers_yx: the bits that are used, as the numbers they mean.
    """
    outside = np.zeros(stored_yx.shape, np.bool_)
    turn = 2**pixels.bits_allocated
    first, last = pixels.padding or (1, 0)
    for shift in (0, turn, -turn):
        low, high = first + shift, last + shift
        if high >= 0 and low < turn:
            outside |= (stored_yx >= max(low, 0)) & (stored_yx <= min(high, turn - 1))
        if pixels.signed and high >= -turn // 2 and low < 0:
            outside |= (numbers_yx >= max(low, -turn // 2)) & (numbers_yx <= min(high, turn // 2 - 1))
    return outside
