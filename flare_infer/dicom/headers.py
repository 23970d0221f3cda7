"""What one DICOM file says up to its pixels: the slices in it, or why it holds none."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from flare_infer.dicom.elements import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    Elements,
    Header,
    damage_reported,
    read_elements,
)
from flare_infer.dicom.slices import Coding, DicomFile, Pixels, Slice

CT_CLASSES: Final = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "legacy converted enhanced CT",
}
_CAPTURES: Final = "1.2.840.10008.5.1.4.1.1.7"
DIRECTORY: Final = "directory"
_DIRECTORY_CLASS: Final = "1.2.840.10008.1.3.10"
CODINGS: Final[dict[str, Coding]] = {
    **dict.fromkeys((IMPLICIT, EXPLICIT, BIG_ENDIAN), "plain"),
    DEFLATED: "deflated",
    "1.2.840.10008.1.2.5": "rle",
    **{f"1.2.840.10008.1.2.4.{number}": "jpeg" for number in (50, 51, 57, 70, 80, 81, 90, 91)},
}
"""Transfer syntaxes that are read, by their UIDs."""

_MOST_INFLATION: Final = 1032
"""Deflate cannot shrink anything more than by this."""

_PIXEL_DATA: Final = 0x7FE00010
_MOST_FRAMES: Final = 20_000
_LONGEST: Final = 16_384


def read_header(path: Path) -> DicomFile:
    """What a DICOM file says, its pixels not read.

    Raises:
        ImageError: if it is damaged; the text names neither the file nor anything in it.
        MissingExtraError: if pydicom is not installed.
    """
    with damage_reported():
        return _said(path, read_elements(path))


def _said(path: Path, found: Header) -> DicomFile:
    header = found.elements
    left_out = _left_out(header)
    slices = () if left_out else tuple(_slices(header, _pixels(path, found)))
    return DicomFile(
        series_uid=_text(header, "SeriesInstanceUID"),
        study_uid=_text(header, "StudyInstanceUID"),
        patient_id=_text(header, "PatientID"),
        modality=_text(header, "Modality"),
        description=_text(header, "SeriesDescription"),
        left_out=left_out if left_out or slices else "slice(s) without a position",
        slices=slices,
    )


def _left_out(header: Elements) -> str:
    """What a file is, if it holds no slices of a CT."""
    kind, modality = _text(header, "SOPClassUID"), _text(header, "Modality")
    if kind == _DIRECTORY_CLASS:
        return DIRECTORY
    if kind.startswith(_CAPTURES):
        return "secondary capture"
    if modality != "CT":
        return {"SR": "dose report or other SR"}.get(modality, modality[:16] if modality.isalnum() else "other object")
    if kind in CT_CLASSES:
        return _no_slice(header)
    return "other object"


def _no_slice(header: Elements) -> str:
    """What an image of a CT is, if it is no slice."""
    if int(header.get("SamplesPerPixel") or 1) != 1:
        return "image in colors"
    if "LOCALIZER" in _text(header, "ImageType").upper().split("\\"):
        return "localizer"
    return ""


def _pixels(path: Path, found: Header) -> Pixels:
    header = found.elements
    shape = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    frames, bits = int(header.get("NumberOfFrames") or 1), int(header.get("BitsAllocated") or 16)
    padding = None
    if isinstance(first := header.get("PixelPaddingValue"), int):
        limit = header.get("PixelPaddingRangeLimit")
        ends = first, limit if isinstance(limit, int) else first
        padding = min(ends), max(ends)
    return Pixels(
        file=path,
        sop_class=_text(header, "SOPClassUID"),
        sop_instance=_text(header, "SOPInstanceUID"),
        shape=shape,
        frames=frames,
        bits_allocated=bits,
        bits_stored=int(header.get("BitsStored") or bits),
        signed=int(header.get("PixelRepresentation") or 0) == 1,
        padding=padding,
        coding=CODINGS.get(found.syntax, "jpeg"),
        offset=found.pixels[1] if found.pixels else 0,
        packed_at=found.packed_at or 0,
        order=">" if found.syntax == BIG_ENDIAN else "<",
        trouble=_trouble(found, (*shape, frames, bits)),
    )


def _trouble(found: Header, sizes: tuple[int, int, int, int]) -> str:
    """Why pixels cannot be read, as far as the header shows."""
    rows, columns, frames, bits = sizes
    if found.pixels is None or found.pixels[0] != _PIXEL_DATA or not found.pixels[2]:
        return "has no pixel data"
    if not (0 < rows <= _LONGEST and 0 < columns <= _LONGEST and 0 < frames <= _MOST_FRAMES):
        return f"says an impossible size ({rows} x {columns}, {frames} frames)"
    if bits not in {8, 16, 32} or not 0 < int(found.elements.get("BitsStored") or bits) <= bits:
        return f"stores {bits} bits a pixel, which is not read"
    if found.syntax not in CODINGS:
        from pydicom.uid import UID

        return f"is compressed in a way that cannot be decoded ({UID(found.syntax).name}); export it uncompressed"
    return _shortage(found, rows * columns * frames * bits // 8)


def _shortage(found: Header, needed_bytes: int) -> str:
    """That a file is too short for its pixels, where these lie in it as they are, or deflated."""
    _, offset, length = found.pixels or (0, 0, 0)
    coding = CODINGS[found.syntax]
    there = found.file_bytes - offset
    if found.packed_at is not None:
        there = (found.file_bytes - found.packed_at) * _MOST_INFLATION - offset
    if coding in {"plain", "deflated"} and min(length, there) < needed_bytes:
        return "is cut short"
    return ""


def _slices(header: Elements, pixels: Pixels) -> Iterator[Slice]:
    """The slices of a file; none if one of them lacks its place."""
    shared = header.items("SharedFunctionalGroupsSequence")
    frames = header.items("PerFrameFunctionalGroupsSequence") or [header]
    if pixels.frames != len(frames) or len(frames) > _MOST_FRAMES:
        return
    slices = []
    for number, own in enumerate(frames):
        sources = _flattened([own, *shared, header])
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


def _flattened(groups: Sequence[Elements]) -> list[Elements]:
    """The places where a value of a frame may stand, the most special first: sequences of one item are looked into."""
    places = []
    for group in groups:
        places.append(group)
        if "Rows" not in group:
            places += group.first_items()
    return places


def _numbers(sources: Sequence[Elements], name: str, count: int) -> tuple[float, ...] | None:
    value = next((source.get(name) for source in sources if name in source), None)
    if value is None or value == "":
        return None
    numbers = tuple(float(number) for number in (value if count > 1 else [value]))
    return numbers if len(numbers) == count else None


def _phase(sources: Sequence[Elements]) -> tuple[str, ...]:
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


def _text(header: Elements, name: str) -> str:
    value = header.get(name)
    if value is None:
        return ""
    return "\\".join(map(str, value)) if not isinstance(value, str | int | float) else str(value).strip()
