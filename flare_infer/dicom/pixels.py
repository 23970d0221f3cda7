"""Pixels of DICOM files as Hounsfield units: as they lie in the file, or decoded by ITK's GDCM."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the field's own alias

from flare_infer.dicom.slices import Pixels, Slice
from flare_infer.errors import ImageError
from flare_infer.formats.nifti_placement import ITK_ERRORS, quiet_itk

_MOST_SLOPE: Final = 2**13
_MOST_INTERCEPT: Final = 2**24

AIR_HU: Final = -1024
"""What pixels become that their file marks as lying outside of the image."""


def read_planes(slices: Sequence[Slice]) -> Iterator[npt.NDArray[Any]]:
    """Slices of one file as arrays (y, x) in Hounsfield units: int32 if slope and intercept are whole, else float32.

    Padding becomes air, whatever its value. Bits of a stored value that hold none of it are passed over, which ITK does
    before it looks for padding.

    Raises:
        ImageError: if they cannot be read; the text names neither the file nor anything in it.
    """
    pixels = slices[0].pixels
    if pixels.trouble:
        raise ImageError(f"a slice {pixels.trouble}")
    try:
        if pixels.offset is None:
            yield from _decoded(pixels, slices)
        else:
            yield from (_in_hounsfield(_plain(pixels, one.frame), one) for one in slices)
    except (OSError, ValueError) as error:
        raise ImageError(f"a slice cannot be read ({type(error).__name__})") from error


def is_whole(one: Slice) -> bool:
    """Whether the Hounsfield units of a slice are whole numbers, none of them too large for 32 bits."""
    return (
        (one.slope.is_integer() and abs(one.slope) <= _MOST_SLOPE)
        and (one.intercept.is_integer() and abs(one.intercept) <= _MOST_INTERCEPT)
        and one.pixels.bits_allocated <= 16
    )


def _plain(pixels: Pixels, frame: int) -> npt.NDArray[Any]:
    """The values of a frame that lies in its file as it is, all bits of them."""
    count = pixels.shape[0] * pixels.shape[1]
    kind = np.dtype(f"{pixels.order}u{pixels.bits_allocated // 8}")
    start = (pixels.offset or 0) + frame * count * kind.itemsize
    stored: npt.NDArray[Any] = np.fromfile(pixels.file, kind, count, offset=start)
    frame_yx: npt.NDArray[Any] = stored.reshape(pixels.shape)
    return frame_yx


def _decoded(pixels: Pixels, slices: Sequence[Slice]) -> Iterator[npt.NDArray[Any]]:
    """Slices of a compressed file, which ITK rescales by one slope and intercept for all frames: that is undone."""
    slope, intercept = slices[0].slope, slices[0].intercept
    if any((one.slope, one.intercept) != (slope, intercept) for one in slices) or not slope:
        raise ImageError("frames of one compressed file are rescaled differently, which is not read; export it again")
    try:
        with quiet_itk():
            image = sitk.ReadImage(str(pixels.file), sitk.sitkUnknown, "GDCMImageIO")
    except ITK_ERRORS as error:
        raise ImageError("a slice cannot be decoded; it is damaged or cut short") from error
    values = sitk.GetArrayViewFromImage(image)
    if values.shape != (pixels.frames, *pixels.shape):
        raise ImageError("a slice holds another number of pixels than its header says")
    for one in slices:
        yield _in_hounsfield(np.rint((values[one.frame] - intercept) / slope), one)


def _in_hounsfield(stored: npt.NDArray[Any], one: Slice) -> npt.NDArray[Any]:
    pixels = one.pixels
    bits, used = pixels.bits_allocated, pixels.bits_stored
    values = stored.astype(np.int64 if bits == 32 else np.int32)
    numbers: npt.NDArray[Any] = values & (2**used - 1)
    if pixels.signed:
        numbers = np.where(numbers >= 2 ** (used - 1), numbers - 2**used, numbers)
    hounsfield: npt.NDArray[Any]
    if is_whole(one):
        hounsfield = numbers.astype(np.int32) * int(one.slope) + int(one.intercept)
    else:
        hounsfield = (numbers * one.slope + one.intercept).astype(np.float32)
    if pixels.padding is not None:
        np.minimum(hounsfield, AIR_HU, out=hounsfield, where=_outside(pixels, values, numbers))
    return hounsfield


def _outside(pixels: Pixels, values: npt.NDArray[Any], numbers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which pixels bear the mark of padding: it may lie beyond the bits that are used, and have the other sign.

    Args:
        pixels: how they are stored.
        values: all bits of each, as unsigned numbers.
        numbers: the bits that are used, as the numbers they mean.
    """
    outside = np.zeros(values.shape, np.bool_)
    turn = 2**pixels.bits_allocated
    first, last = pixels.padding or (1, 0)
    for shift in (0, turn, -turn):
        low, high = first + shift, last + shift
        if high >= 0 and low < turn:
            outside |= (values >= low) & (values <= high)
        if pixels.signed and high >= -turn // 2 and low < 0:
            outside |= (numbers >= low) & (numbers <= high)
    return outside
