"""DICOM SEG: a label map in the study it was made from, each class with its code (PS3.3, A.51 and C.8.20)."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.exports.color_table import classes_of, colors_of
from flare_infer.exports.encoding import Encoding, fragments, write_dicom
from flare_infer.exports.runs_of_bytes import rle_frame
from flare_infer.exports.source import (
    Plane,
    Source,
    coded,
    copy_attributes,
    items_of,
    new_object,
    on_slices,
    read_source,
)
from flare_infer.exports.terms import Code, term_of
from flare_infer.files.write_whole import whole_file
from flare_infer.results.case import SegmentedCase
from flare_infer.results.drawing import Color
from flare_infer.results.sections import Section
from flare_infer.version import __version__

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.4"
_LABEL_MAP: Final = "1.2.840.10008.5.1.4.1.1.66.7"
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_RLE: Final = "1.2.840.10008.1.2.5"
_IMAGES: Final = 0x00081115
_FRAMES: Final = 0x52009230
_PIXELS: Final = 0x7FE00010
_EXPLICITLY: Final = Encoding(explicit=True)
_PURPOSE: Final = Code("121322", "Source image for image processing operation", "DCM")
_DERIVATION: Final = Code("113076", "Segmentation", "DCM")
_FAMILY: Final = Code("123110", "Artificial Intelligence", "DCM")

_Planes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Frame:
    """One frame.

    Attributes:
        z: its plane.
        code: the class in it; 0 for all of them.
        index: its place along each dimension, from 1.
        rows: the rows that the class lies in.
    """

    z: int
    code: int
    index: tuple[int, ...]
    rows: slice


def write_dicom_seg(
    path: Path, case: SegmentedCase, *, labelmap: bool = False, codes: Collection[int] | None = None
) -> None:
    """Write a label map as a segmentation object of the study; its final name appears only when it is whole.

    All classes are described, those that were not found, too; a frame is written for each class and plane in which
    there is something, or a single empty one where there is nothing at all.

    Args:
        path: the file.
        case: the case, read from DICOM.
        labelmap: whether to write the newer form LABELMAP, compressed, of which a frame holds all classes of a plane.
        codes: the classes; None for all.

    Raises:
        ImageError: if the case was not read from DICOM, or its series can no longer be read.
        MissingExtraError: if pydicom is not installed.
        NotWrittenError: if the file cannot be written.
    """
    case = on_slices(case)
    source = read_source(case, "DICOM SEG")
    classes = classes_of(case, codes)
    numbers = {code: code if labelmap else number for number, code in enumerate(classes, start=1)}
    frames = _frames(case.sections, numbers, labelmap)
    kind, syntax = (_LABEL_MAP, _RLE) if labelmap else (_SEGMENTATION, _EXPLICIT)
    header = new_object(source, case, kind, syntax)
    _describe(header, source, labelmap, len(frames))
    header.SegmentSequence = _segments(case, classes, numbers)
    pixels = _label_maps if labelmap else _masks
    large = {
        _IMAGES: [_references(source)],
        _FRAMES: [_groups(source, frames, {} if labelmap else numbers)],
        _PIXELS: pixels(case.labels.array_zyx, frames, frozenset(classes)),
    }
    with whole_file(path, ".dcm") as part:
        write_dicom(part, header, large)


def _frames(sections: Iterable[Section], numbers: Mapping[int, int], labelmap: bool) -> list[_Frame]:
    """The frames to write, those of a class one behind the other."""
    found = {(0 if labelmap else one.code, one.z): one.box[0] for one in sections if one.code in numbers}
    found = found or {(0 if labelmap else min(numbers, default=0), 0): slice(0, 0)}
    rank = {z: number for number, z in enumerate(sorted({z for _, z in found}), start=1)}
    return [
        _Frame(z, code, (rank[z],) if labelmap else (numbers.get(code, 1), rank[z]), found[code, z])
        for code, z in sorted(found)
    ]


def _describe(header: "Dataset", source: Source, labelmap: bool, frames: int) -> None:
    """Everything of an object that is neither a segment nor a frame."""
    from pydicom.uid import generate_uid

    plane, series = source.planes[0], source.series
    header.Modality, header.SeriesNumber, header.SeriesDescription = "SEG", 300, "Organs and tumors (flare)"
    header.ImageType, header.ContentLabel, header.ContentDescription = ["DERIVED", "PRIMARY"], "FLARE", None
    header.ContentCreatorName = None
    header.ContentDate, header.ContentTime = header.SeriesDate, header.SeriesTime
    header.SegmentationType = "LABELMAP" if labelmap else "BINARY"
    header.SegmentsOverlap = "NO"
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PixelRepresentation = 1, "MONOCHROME2", 0
    header.BitsAllocated = header.BitsStored = 8 if labelmap else 1
    header.HighBit = header.BitsStored - 1
    if labelmap:
        header.add_new("PixelPaddingValue", "US", 0)
    header.Rows, header.Columns = series.slices[0].pixels.shape
    header.NumberOfFrames, header.LossyImageCompression = frames, "00"
    if source.header.get("LossyImageCompression") == "01":
        words = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
        copy_attributes(source.header, header, words)
    organization = generate_uid(prefix=None)
    header.DimensionOrganizationSequence = items_of(DimensionOrganizationUID=organization)
    pointers = [(0x0020_0032, 0x0020_9113, "Position")]
    if not labelmap:
        pointers.insert(0, (0x0062_000B, 0x0062_000A, "Segment"))
    header.DimensionIndexSequence = [
        items_of(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=group,
            DimensionDescriptionLabel=label,
        )[0]
        for pointer, group, label in pointers
    ]
    shared = items_of(
        PlaneOrientationSequence=items_of(ImageOrientationPatient=_decimals(plane.axes)),
        PixelMeasuresSequence=items_of(
            SliceThickness=_decimals([series.spacing_mm])[0],
            SpacingBetweenSlices=_decimals([series.spacing_mm])[0],
            PixelSpacing=_decimals(plane.spacing_mm),
        ),
    )
    header.SharedFunctionalGroupsSequence = shared


def _references(source: Source) -> bytes:
    """The images that frames refer to."""
    series = _EXPLICITLY.element(0x0020_000E, "UI", source.series.uid)
    return _EXPLICITLY.sequence(_IMAGES, [_EXPLICITLY.sequence(0x0008_114A, source.images(_EXPLICITLY)) + series])


def _decimals(values: Iterable[float]) -> list[str]:
    """Numbers as DICOM writes them, in at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(value)) for value in values]


def _segments(case: SegmentedCase, classes: Mapping[int, str], numbers: Mapping[int, int]) -> "list[Dataset]":
    colors = colors_of(case.names)
    algorithm = {
        "AlgorithmFamilyCodeSequence": [coded(_FAMILY)],
        "AlgorithmName": f"flare-infer {case.made_with.get('model', '')}".strip()[:64],
        "AlgorithmVersion": __version__,
    }
    if weights := case.made_with.get("weights_sha256"):
        algorithm["AlgorithmParameters"] = f"weights SHA-256 {weights}"
    described = []
    for code, name in classes.items():
        term = term_of(name)
        kind = coded(term.kind)
        if term.side is not None:
            kind.SegmentedPropertyTypeModifierCodeSequence = [coded(term.side)]
        values: dict[str, Any] = {
            "SegmentNumber": numbers[code],
            "SegmentLabel": name[:64],
            "SegmentAlgorithmType": "AUTOMATIC",
            "SegmentAlgorithmName": algorithm["AlgorithmName"],
            "SegmentationAlgorithmIdentificationSequence": items_of(**algorithm),
            "SegmentedPropertyCategoryCodeSequence": [coded(term.category)],
            "SegmentedPropertyTypeCodeSequence": [kind],
            "RecommendedDisplayCIELabValue": cielab(colors[code]),
        }
        if term.region is not None:
            values["AnatomicRegionSequence"] = [coded(term.region)]
        described += items_of(**values)
    return described


def cielab(color: Color) -> list[int]:
    """A color of a screen (sRGB) in CIELab as DICOM stores it: three numbers from 0 to 65535 (PS3.3, C.10.7.1.1)."""
    raw = np.asarray(color) / 255
    linear = np.where(raw <= 0.04045, raw / 12.92, ((raw + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
    )
    relative = to_xyz @ linear / (0.95047, 1.0, 1.08883)
    root = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness, red, yellow = 116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])
    stored = np.rint([lightness / 100 * 65535, (red + 128) / 255 * 65535, (yellow + 128) / 255 * 65535])
    return [int(value) for value in np.clip(stored, 0, 65535)]


def _groups(source: Source, frames: Iterable[_Frame], numbers: Mapping[int, int]) -> bytes:
    """The functional groups of all frames."""
    write = _EXPLICITLY
    purpose = write.sequence(0x0040_A170, [_code(_PURPOSE)])
    derived = write.sequence(0x0008_9215, [_code(_DERIVATION)])
    places = {z: _place(source.planes[z], purpose, derived) for z in {one.z for one in frames}}
    found = []
    for one in frames:
        index = write.element(0x0020_9157, "UL", np.asarray(one.index, "<u4").tobytes())
        image, position = places[one.z]
        parts = [image, write.sequence(0x0020_9111, [index]), position]
        if numbers:
            number = write.element(0x0062_000B, "US", np.asarray([numbers[one.code]], "<u2").tobytes())
            parts.append(write.sequence(0x0062_000A, [number]))
        found.append(b"".join(parts))
    return write.sequence(_FRAMES, found)


def _place(plane: Plane, purpose: bytes, derived: bytes) -> tuple[bytes, bytes]:
    """What the frames of a plane say of their image, and of their position."""
    write = _EXPLICITLY
    images = []
    if plane.image is not None:
        preserved = write.element(0x0028_135A, "CS", "YES")
        image = write.sequence(0x0008_2112, [plane.image.reference(write) + preserved + purpose])
        images.append(image + derived)
    position = write.element(0x0020_0032, "DS", "\\".join(_decimals(plane.position_mm)))
    return write.sequence(0x0008_9124, images), write.sequence(0x0020_9113, [position])


def _code(code: Code) -> bytes:
    values = ((0x0008_0100, "SH", code.value), (0x0008_0102, "SH", code.scheme), (0x0008_0104, "LO", code.meaning))
    return b"".join(_EXPLICITLY.element(*value) for value in values)


def _masks(labels_zyx: _Planes, frames: list[_Frame], chosen: frozenset[int]) -> Iterator[bytes]:
    """The element of pixels of one bit, the first of a byte in its lowest bit; frames follow each other bit by bit."""
    _, height, width = labels_zyx.shape
    count = len(frames) * height * width
    length = -(-count // 8)
    yield _EXPLICITLY.head(_PIXELS, "OB", length + length % 2)
    # One frame at a time, behind the bits that were left of the one before; most of its rows are empty.
    bits, left = np.zeros(7 + height * width, np.bool_), 0
    for one in frames:
        inside = (labels_zyx[one.z, one.rows] == one.code).ravel()
        bits[left + one.rows.start * width :][: inside.size] = inside
        whole, rest = divmod(left + height * width, 8)
        yield np.packbits(bits[: 8 * whole], bitorder="little").tobytes()
        bits[:rest] = bits[8 * whole :][:rest]
        bits[rest:] = False
        left = rest
    yield np.packbits(bits[:left], bitorder="little").tobytes() + bytes(length % 2)


def _label_maps(labels_zyx: _Planes, frames: list[_Frame], chosen: frozenset[int]) -> Iterator[bytes]:
    """The element of compressed pixels of one byte, which is the number of a segment; 0 is none."""
    kept = np.array([code if code in chosen else 0 for code in range(256)], np.uint8)
    return fragments((rle_frame(labels_zyx[one.z], kept) for one in frames), _EXPLICITLY)
