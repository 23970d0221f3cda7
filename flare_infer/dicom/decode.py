"""Stored values of the pixels of a DICOM file: as they lie in it, inflated, or decoded by pydicom or ITK's GDCM."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the field's own alias

from flare_infer.dicom.elements import damage_reported, inflated
from flare_infer.dicom.slices import Pixels, Slice
from flare_infer.errors import ImageError
from flare_infer.formats.nifti_placement import ITK_ERRORS, quiet_itk

_RLE: Final = "1.2.840.10008.1.2.5"
_UNDECODABLE: Final = "a slice cannot be decoded; it is damaged or cut short"


def stored_frames(slices: Sequence[Slice]) -> Iterator[npt.NDArray[Any]]:
    """The stored values of slices of one file, one array (y, x) each: all bits allocated, as unsigned numbers.

    Raises:
        ImageError: if they cannot be decoded.
        OSError: if the file cannot be read.
        ValueError: if it is too short.
    """
    pixels = slices[0].pixels
    if pixels.coding == "plain":
        return (_plain(pixels, one.frame) for one in slices)
    if pixels.coding == "deflated":
        return _inflated(pixels, slices)
    return _by_pydicom(pixels, slices) if pixels.coding == "rle" else _by_gdcm(pixels, slices)


def _plain(pixels: Pixels, frame: int) -> npt.NDArray[Any]:
    count = pixels.shape[0] * pixels.shape[1]
    kind = _kind(pixels)
    stored: npt.NDArray[Any] = np.fromfile(
        pixels.file, kind, count, offset=pixels.offset + frame * count * kind.itemsize
    )
    frame_yx: npt.NDArray[Any] = stored.astype(kind.newbyteorder("="), copy=False).reshape(pixels.shape)
    return frame_yx


def _inflated(pixels: Pixels, slices: Sequence[Slice]) -> Iterator[npt.NDArray[Any]]:
    """No more is inflated than the header promises."""
    kind = _kind(pixels)
    shape = (pixels.frames, *pixels.shape)
    end = pixels.offset + int(np.prod(shape)) * kind.itemsize
    with pixels.file.open("rb") as file:
        file.seek(pixels.packed_at)
        content = inflated(file.read(), end)
    frames: npt.NDArray[Any] = np.frombuffer(content[:end], kind, offset=pixels.offset).reshape(shape)
    yield from (frames[one.frame] for one in slices)


def _by_pydicom(pixels: Pixels, slices: Sequence[Slice]) -> Iterator[npt.NDArray[Any]]:
    """RLE, at which GDCM takes twenty times as long."""
    from pydicom.pixels.decoders.base import get_decoder

    options: dict[str, Any] = {
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "samples_per_pixel": 1,
        "number_of_frames": pixels.frames,
        "pixel_keyword": "PixelData",
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": pixels.bits_allocated,
        "bits_stored": pixels.bits_stored,
        "pixel_representation": 0,
    }
    frames: list[npt.NDArray[Any]] = []
    try:
        with damage_reported(), pixels.file.open("rb") as file:
            file.seek(pixels.offset)
            decoder = get_decoder(_RLE)
            frames += (
                decoder.as_array(file, index=one.frame, raw=True, decoding_plugin="pydicom", **options)[0]
                for one in slices
            )
    except ImageError as error:
        raise ImageError(_UNDECODABLE) from error
    yield from frames


def _by_gdcm(pixels: Pixels, slices: Sequence[Slice]) -> Iterator[npt.NDArray[Any]]:
    """ITK rescales by one slope and intercept for all frames: that is undone."""
    slope, intercept = slices[0].slope, slices[0].intercept
    if any((one.slope, one.intercept) != (slope, intercept) for one in slices) or not slope:
        raise ImageError("frames of one compressed file are rescaled differently, which is not read; export it again")
    try:
        with quiet_itk():
            image = sitk.ReadImage(str(pixels.file), sitk.sitkUnknown, "GDCMImageIO")
    except ITK_ERRORS as error:
        raise ImageError(_UNDECODABLE) from error
    values = sitk.GetArrayViewFromImage(image)
    if values.shape != (pixels.frames, *pixels.shape):
        raise ImageError("a slice holds another number of pixels than its header says")
    for one in slices:
        numbers = values[one.frame]
        if slope == 1 and intercept.is_integer() and numbers.dtype.kind in "iu":
            stored = numbers.astype(np.int64 if pixels.bits_allocated == 32 else np.int32) - int(intercept)
        else:
            stored = np.rint((numbers - intercept) / slope).astype(np.int64)
        yield stored.astype(_kind(pixels))


def _kind(pixels: Pixels) -> np.dtype[Any]:
    return np.dtype(f"{pixels.order}u{pixels.bits_allocated // 8}")
