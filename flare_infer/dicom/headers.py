"""What one DICOM file says, read by pydicom up to its pixels: the slices in it, or why it holds none."""

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flare_infer.dicom.slices import DicomFile, Pixels, Slice
from flare_infer.errors import ImageError, MissingExtraError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

_TAGS: Final = (
    *("SOPClassUID", "Modality", "SeriesInstanceUID", "StudyInstanceUID", "SeriesDescription", "ImageType"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "AcquisitionNumber"),
    *("TemporalPositionIdentifier", "ConvolutionKernel", "ContrastBolusAgent", "KVP"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
_CT_CLASSES: Final = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "legacy converted enhanced CT",
}
_CAPTURES: Final = "1.2.840.10008.5.1.4.1.1.7"
DIRECTORY: Final = "directory"
_DIRECTORY_CLASS: Final = "1.2.840.10008.1.3.10"
_PLAIN: Final = {"1.2.840.10008.1.2": "<", "1.2.840.10008.1.2.1": "<", "1.2.840.10008.1.2.2": ">"}
"""Transfer syntaxes whose pixels lie in the file as they are, and their byte order."""

_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_DECODED: Final = {_DEFLATED, "1.2.840.10008.1.2.5"} | {
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91)
}
"""Those that GDCM decodes: deflated, RLE, JPEG, JPEG-LS and JPEG 2000."""

_FIRST_PIXEL_TAG: Final = 0x7FE00008
_PIXEL_DATA: Final = 0x7FE00010
_MOST_FRAMES: Final = 20_000
_LONGEST: Final = 16_384


def read_header(path: Path) -> DicomFile:
    """What a DICOM file says, its pixels not read.

    Raises:
        ImageError: if it is damaged; the text names neither the file nor anything in it.
        MissingExtraError: if pydicom is not installed.
    """
    try:
        from pydicom.filereader import read_partial
    except ImportError as error:
        raise MissingExtraError('DICOM is read with pydicom: pip install "flare-infer[dicom]"') from error
    found: list[tuple[int, int, int]] = []
    with _damage_reported(), path.open("rb") as file:

        def at_pixels(tag: int, _: str | None, length: int) -> bool:
            if int(tag) < _FIRST_PIXEL_TAG:
                return False
            found.append((int(tag), file.tell(), length))
            return True

        header = read_partial(file, at_pixels, force=True, specific_tags=_tags())
        syntax = str(header.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2"))
        return _said(header, _Stored(path, syntax, found[0] if found else None))


@cache
def _tags() -> "list[BaseTag | int]":
    from pydicom.tag import Tag

    return [Tag(name) for name in _TAGS]


@dataclass(frozen=True)
class _Stored:
    """Where pixels were found: file, transfer syntax, and tag, offset and length of their element, if there is one."""

    path: Path
    syntax: str
    element: tuple[int, int, int] | None


@contextmanager
def _damage_reported() -> Iterator[None]:
    """Whatever a damaged header makes of pydicom is one error; pydicom itself says nothing, since it quotes values."""
    from pydicom import config
    from pydicom.errors import BytesLengthException, InvalidDicomError

    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    damages = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, NotImplementedError, RecursionError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (
        InvalidDicomError,
        BytesLengthException,
        OSError,
        EOFError,
        struct.error,
        zlib.error,
        MemoryError,
        *damages,
    ) as error:
        raise ImageError(f"damaged DICOM ({type(error).__name__})") from error


def _said(header: "Dataset", stored: _Stored) -> DicomFile:
    left_out = _left_out(header)
    slices = () if left_out else tuple(_slices(header, _pixels(header, stored)))
    return DicomFile(
        series_uid=_text(header, "SeriesInstanceUID"),
        study_uid=_text(header, "StudyInstanceUID"),
        modality=_text(header, "Modality"),
        description=_text(header, "SeriesDescription"),
        left_out=left_out if left_out or slices else "slice(s) without a position",
        slices=slices,
    )


def _left_out(header: "Dataset") -> str:
    """What a file is, if it holds no slices of a CT."""
    kind, modality = _text(header, "SOPClassUID"), _text(header, "Modality")
    if kind == _DIRECTORY_CLASS:
        return DIRECTORY
    if kind.startswith(_CAPTURES):
        return "secondary capture"
    if modality != "CT":
        return {"SR": "dose report or other SR"}.get(modality, modality[:16] if modality.isalnum() else "other object")
    if kind in _CT_CLASSES:
        return _no_slice(header)
    return "other object"


def _no_slice(header: "Dataset") -> str:
    """What an image of a CT is, if it is no slice."""
    if int(header.get("SamplesPerPixel") or 1) != 1:
        return "image in colors"
    if "LOCALIZER" in _text(header, "ImageType").upper().split("\\"):
        return "localizer"
    return ""


def _pixels(header: "Dataset", stored: _Stored) -> Pixels:
    shape = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    frames, bits = int(header.get("NumberOfFrames") or 1), int(header.get("BitsAllocated") or 16)
    signed = int(header.get("PixelRepresentation") or 0) == 1
    padding = None
    if isinstance(first := header.get("PixelPaddingValue"), int):
        limit = header.get("PixelPaddingRangeLimit")
        ends = first, limit if isinstance(limit, int) else first
        padding = min(ends), max(ends)
    plain = stored.syntax in _PLAIN
    return Pixels(
        file=stored.path,
        shape=shape,
        frames=frames,
        bits_allocated=bits,
        bits_stored=int(header.get("BitsStored") or bits),
        signed=signed,
        padding=padding,
        offset=stored.element[1] if plain and stored.element else None,
        order=_PLAIN.get(stored.syntax, "<"),
        trouble=_trouble(header, stored, (*shape, frames, bits)),
    )


def _trouble(header: "Dataset", stored: _Stored, sizes: tuple[int, int, int, int]) -> str:
    """Why pixels cannot be read, as far as the header shows."""
    rows, columns, frames, bits = sizes
    if stored.element is None or stored.element[0] != _PIXEL_DATA or not stored.element[2]:
        return "has no pixel data"
    if not (0 < rows <= _LONGEST and 0 < columns <= _LONGEST and 0 < frames <= _MOST_FRAMES):
        return f"says an impossible size ({rows} x {columns}, {frames} frames)"
    if bits not in {8, 16, 32} or not 0 < int(header.get("BitsStored") or bits) <= bits:
        return f"stores {bits} bits a pixel, which is not read"
    if stored.syntax not in {*_PLAIN, *_DECODED}:
        from pydicom.uid import UID

        return f"is compressed in a way that cannot be decoded ({UID(stored.syntax).name}); export it uncompressed"
    return _shortage(stored, rows * columns * frames * bits // 8)


def _shortage(stored: _Stored, needed_bytes: int) -> str:
    """That a file is too short for its pixels, where these lie in it as they are."""
    _, offset, length = stored.element or (0, 0, 0)
    if stored.syntax in _PLAIN and min(length, stored.path.stat().st_size - offset) < needed_bytes:
        return "is cut short"
    return ""


def _slices(header: "Dataset", pixels: Pixels) -> Iterator[Slice]:
    """The slices of a file; none if one of them lacks its place."""
    shared, each = header.get("SharedFunctionalGroupsSequence"), header.get("PerFrameFunctionalGroupsSequence")
    frames: Sequence[Any] = each or [header]
    if pixels.frames != len(frames) or len(frames) > _MOST_FRAMES:
        return
    slices = []
    for number, own in enumerate(frames):
        sources = _flattened([own, *(shared or []), header])
        position, axes = _numbers(sources, "ImagePositionPatient", 3), _numbers(sources, "ImageOrientationPatient", 6)
        spacing = _numbers(sources, "PixelSpacing", 2)
        if not (position and axes and spacing):
            return
        slope, intercept = _numbers(sources, "RescaleSlope", 1), _numbers(sources, "RescaleIntercept", 1)
        slices.append(
            Slice(
                pixels=pixels,
                frame=number,
                position_mm=position,
                axes=axes,
                spacing_mm=spacing,
                slope=(slope or (1.0,))[0],
                intercept=(intercept or (0.0,))[0],
                phase=_phase(sources),
            )
        )
    yield from slices


def _flattened(groups: Sequence["Dataset"]) -> list["Dataset"]:
    """The places where a value of a frame may stand, the most special first: sequences of one item are looked into."""
    places = []
    for group in groups:
        places.append(group)
        for element in group if len(group) and "Rows" not in group else ():
            if element.VR == "SQ" and element.value:
                places.append(element.value[0])
    return places


def _numbers(sources: Sequence["Dataset"], name: str, count: int) -> tuple[float, ...] | None:
    value = next((source[name].value for source in sources if name in source), None)
    if value is None or value == "":
        return None
    numbers = tuple(float(number) for number in (value if count > 1 else [value]))
    return numbers if len(numbers) == count else None


def _phase(sources: Sequence["Dataset"]) -> tuple[str, ...]:
    names = (
        ("FrameAcquisitionNumber", "AcquisitionNumber"),
        ("TemporalPositionIndex", "TemporalPositionIdentifier"),
        ("StackID",),
        ("ConvolutionKernel",),
        ("FrameType", "ImageType"),
        ("ContrastBolusAgent",),
        ("KVP",),
    )
    return tuple(
        next((_text(source, name) for name in several for source in sources if name in source), "") for several in names
    )


def _text(header: "Dataset", name: str) -> str:
    value = header.get(name)
    if value is None:
        return ""
    return "\\".join(map(str, value)) if not isinstance(value, str | int | float) else str(value).strip()
