"""RTSTRUCT: the outlines of each class on the slices it was made from (PS3.3, A.19 and C.8.8)."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import numpy.typing as npt

from flare_infer import labels
from flare_infer.class_names import code_of_name
from flare_infer.exports.color_table import classes_of, colors_of
from flare_infer.exports.contours import Ring, outlines
from flare_infer.exports.encoding import Encoding, write_dicom
from flare_infer.exports.source import Plane, Source, coded, items_of, new_object, on_slices, read_source
from flare_infer.exports.terms import term_of
from flare_infer.files.write_whole import whole_file
from flare_infer.results.case import SegmentedCase
from flare_infer.results.drawing import Color

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_STRUCTURES: Final = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY: Final = "1.2.840.10008.3.1.2.3.1"
_IMPLICIT: Final = "1.2.840.10008.1.2"
_REFERENCES: Final = 0x30060010
_CONTOURS: Final = 0x30060039
_MOST_TEXTS: Final = 10_000
_IMPLICITLY: Final = Encoding(explicit=False)
"""Files that name value representations cannot hold a contour of more than 64 KiB."""


def write_rtstruct(path: Path, case: SegmentedCase, *, codes: Collection[int] | None = None) -> None:
    """Write the outlines of a label map as a structure set of the study; its final name appears only when it is whole.

    A structure is written for each class; one that was not found has no contours. Outlines run between the pixels of
    a class and the others; see `exports.contours` for holes.

    Args:
        path: the file.
        case: the case, read from DICOM.
        codes: the classes; None for all.

    Raises:
        ImageError: if the case was not read from DICOM, or its series can no longer be read.
        MissingExtraError: if pydicom is not installed.
        NotWrittenError: if the file cannot be written.
    """
    case = on_slices(case)
    source = read_source(case, "RTSTRUCT")
    classes = classes_of(case, codes)
    contours = _contours(case, source, frozenset(classes))
    colors = colors_of(case.names)
    structures = [_structure(number, colors[code], contours[code]) for number, code in enumerate(classes, start=1)]
    header = _header(case, source, classes)
    large = {
        _REFERENCES: [_frame_of_reference(source)],
        _CONTOURS: [_IMPLICITLY.sequence(_CONTOURS, structures)],
    }
    with whole_file(path, ".dcm") as part:
        write_dicom(part, header, large)


class _Texts(dict[float, str]):
    """Coordinates as texts: on planes along the patient's axes the same few thousand return again and again."""

    def __missing__(self, value: float) -> str:
        if len(self) >= _MOST_TEXTS:
            self.clear()  # on oblique planes each is another one
        text = self[value] = f"{value:.3f}"
        return text


@dataclass(frozen=True)
class _Place:
    """Where contours on a plane lie.

    Attributes:
        image: the reference to the image there; empty if it was missing.
        corner_mm: LPS coordinates of the center of the first pixel.
        row_mm: from one pixel of a row to the next.
        column_mm: from one pixel of a column to the next.
    """

    image: bytes
    corner_mm: npt.NDArray[np.float64]
    row_mm: npt.NDArray[np.float64]
    column_mm: npt.NDArray[np.float64]

    @classmethod
    def on(cls, plane: Plane) -> Self:
        """The place of a plane, once for all its contours."""
        rows_mm, columns_mm = plane.spacing_mm
        image = [] if plane.image is None else [_IMPLICITLY.sequence(0x3006_0016, [plane.image.reference(_IMPLICITLY)])]
        return cls(
            b"".join(image),
            np.asarray(plane.position_mm),
            np.asarray(plane.axes[:3]) * columns_mm,
            np.asarray(plane.axes[3:]) * rows_mm,
        )


def _contours(case: SegmentedCase, source: Source, codes: frozenset[int]) -> Mapping[int, list[bytes]]:
    """The contours of each class, as items of a sequence."""
    found: dict[int, list[bytes]] = defaultdict(list)
    labels_zyx, texts = case.labels.array_zyx, _Texts()
    chosen = [one for one in case.sections if one.code in codes]
    places = {z: _Place.on(source.planes[z]) for z in {one.z for one in chosen}}
    for z, code, (in_y, in_x) in chosen:
        for ring in outlines(labels_zyx[z, in_y, in_x] == code):
            moved = ring + np.array((in_x.start, in_y.start))
            found[code].append(_contour(len(found[code]) + 1, moved, places[z], texts))
    return found


def _contour(number: int, ring: Ring, place: _Place, texts: _Texts) -> bytes:
    write = _IMPLICITLY
    points_mm = place.corner_mm + ring[:, :1] * place.row_mm + ring[:, 1:] * place.column_mm
    values = (points_mm + 0.0).ravel().tolist()
    return b"".join(
        [
            place.image,
            write.element(0x3006_0042, "CS", "CLOSED_PLANAR"),
            write.element(0x3006_0046, "IS", str(len(ring))),
            write.element(0x3006_0048, "IS", str(number)),
            write.element(0x3006_0050, "DS", "\\".join(map(texts.__getitem__, values))),
        ]
    )


def _structure(number: int, color: Color, contours: list[bytes]) -> bytes:
    write = _IMPLICITLY
    shown = write.element(0x3006_002A, "IS", "\\".join(map(str, color)))
    drawn = write.sequence(0x3006_0040, contours) if contours else b""
    return shown + drawn + write.element(0x3006_0084, "IS", str(number))


def _header(case: SegmentedCase, source: Source, classes: Mapping[int, str]) -> "Dataset":
    """All of a structure set but its contours."""
    header = new_object(source, case, _STRUCTURES, _IMPLICIT)
    del header.InstanceNumber
    header.Modality, header.SeriesNumber, header.SeriesDescription = "RTSTRUCT", 301, "Organs and tumors (flare)"
    header.OperatorsName = None
    header.StructureSetLabel, header.StructureSetName = "flare", "Organs and tumors"
    header.StructureSetDate, header.StructureSetTime = header.SeriesDate, header.SeriesTime
    header.ApprovalStatus = "UNAPPROVED"
    made_by = f"flare-infer {case.made_with.get('model', '')}".strip()[:64]
    numbered = list(enumerate(classes.values(), start=1))
    header.StructureSetROISequence = [
        items_of(
            ROINumber=number,
            ReferencedFrameOfReferenceUID=source.frame_of_reference,
            ROIName=name[:64],
            ROIGenerationAlgorithm="AUTOMATIC",
            ROIGenerationDescription=made_by,
        )[0]
        for number, name in numbered
    ]
    header.RTROIObservationsSequence = list(_observations(numbered))
    return header


def _frame_of_reference(source: Source) -> bytes:
    """The images that contours may lie on."""
    write = _IMPLICITLY
    series = [
        write.element(0x0020_000E, "UI", source.series.uid),
        write.sequence(0x3006_0016, source.images(write)),
    ]
    study = [
        write.element(0x0008_1150, "UI", _STUDY),
        write.element(0x0008_1155, "UI", str(source.header.StudyInstanceUID)),
        write.sequence(0x3006_0014, [b"".join(series)]),
    ]
    frame = write.element(0x0020_0052, "UI", source.frame_of_reference)
    return write.sequence(_REFERENCES, [frame + write.sequence(0x3006_0012, [b"".join(study)])])


def _observations(numbered: Iterable[tuple[int, str]]) -> "Iterable[Dataset]":
    """What each structure is; whether a tumor is a target, a physician says."""
    for number, name in numbered:
        term = term_of(name)
        kind = coded(term.kind)
        if term.side is not None:
            kind.SegmentedPropertyTypeModifierCodeSequence = [coded(term.side)]
        (one,) = items_of(
            ObservationNumber=number,
            ReferencedROINumber=number,
            RTROIIdentificationCodeSequence=[kind],
            RTROIInterpretedType="ORGAN" if code_of_name(name) in labels.ORGANS else None,
            ROIInterpreter=None,
        )
        yield one
