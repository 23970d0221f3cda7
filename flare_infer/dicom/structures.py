"""What experts drew on a CT and kept as DICOM: segmentations (SEG) and structure sets (RTSTRUCT), voxels not read."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flare_infer.dicom.elements import damage_reported
from flare_infer.errors import ImageError, MissingExtraError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SEG: Final = "SEG"
RTSTRUCT: Final = "RTSTRUCT"
CLOSED: Final = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}
"""Types of contours that enclose something; points and open lines do not."""

_CLASSES: Final = {
    "1.2.840.10008.5.1.4.1.1.66.4": SEG,
    "1.2.840.10008.5.1.4.1.1.66.7": SEG,
    "1.2.840.10008.5.1.4.1.1.481.3": RTSTRUCT,
}


@dataclass(frozen=True, kw_only=True)
class Coded:
    """A coded concept.

    Attributes:
        value: the code.
        scheme: its coding scheme, such as SCT (SNOMED CT), or SRT for its older form.
    """

    value: str
    scheme: str


@dataclass(frozen=True, kw_only=True)
class Structure:
    """A segment or region of interest.

    Attributes:
        number: its number in the object.
        name: what the object calls it.
        kind: what it is, as a code; None if it has none.
        side: of which side of the body, as a code; None if that is not said.
        region: in which part of the body, as a code; None if that is not said.
        drawn: whether anything of it is drawn; a name alone does not say that it was looked for.
    """

    number: int
    name: str
    kind: Coded | None = None
    side: Coded | None = None
    region: Coded | None = None
    drawn: bool = True


@dataclass(frozen=True, kw_only=True)
class DrawnObject:
    """A SEG or RTSTRUCT.

    Attributes:
        path: its file.
        name: a name without a patient's data: a hash of its UID.
        modality: `SEG` or `RTSTRUCT`.
        series_uid: the SeriesInstanceUID of what it was drawn on; empty if it does not say.
        frame_uid: the FrameOfReferenceUID; empty if it does not say.
        instances: the SOPInstanceUIDs of the images that it was drawn on.
        structures: what it holds.
    """

    path: Path
    name: str
    modality: str
    series_uid: str
    frame_uid: str
    instances: frozenset[str]
    structures: tuple[Structure, ...]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, kw_only=True)
class Belonging:
    """To whom and to what an image belongs; held in memory only.

    Attributes:
        patient: the PatientID, or the StudyInstanceUID if that is empty.
        frame_uid: the FrameOfReferenceUID.
        instance: the SOPInstanceUID.
    """

    patient: str
    frame_uid: str
    instance: str


def drawn_objects(files: Iterable[Path]) -> tuple[list[DrawnObject], int]:
    """The SEG and RTSTRUCT objects among DICOM files, each once, and the number of those that are damaged.

    Raises:
        MissingExtraError: if pydicom is not installed.
    """
    found: dict[str, DrawnObject] = {}
    damaged = 0
    for path in files:
        try:
            with damage_reported():
                one = _drawn_object(path)
        except ImageError:
            damaged += 1
            continue
        if one is not None:
            found.setdefault(one.name, one)
    return list(found.values()), damaged


def belonging(path: Path) -> Belonging:
    """To whom and to what an image belongs.

    Raises:
        ImageError: if the file is damaged.
        MissingExtraError: if pydicom is not installed.
    """
    with damage_reported():
        tags = ["PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"]
        header = read_dataset(path, tags)
        patient = _text(header, "PatientID")
        return Belonging(
            patient=f"id {patient}" if patient else f"study {_text(header, 'StudyInstanceUID')}",
            frame_uid=_text(header, "FrameOfReferenceUID"),
            instance=_text(header, "SOPInstanceUID"),
        )


def read_dataset(path: Path, tags: list[str] | None = None) -> "Dataset":
    """A DICOM file up to its pixels.

    Args:
        path: the file.
        tags: keywords of the elements to read; None reads all.

    Raises:
        MissingExtraError: if pydicom is not installed.
    """
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise MissingExtraError('DICOM is read with pydicom: pip install "flare-infer[dicom]"') from error
    return dcmread(path, force=True, stop_before_pixels=True, specific_tags=None if tags is None else list(tags))


def _drawn_object(path: Path) -> DrawnObject | None:
    modality = _CLASSES.get(_text(read_dataset(path, ["SOPClassUID"]), "SOPClassUID"))
    if modality is None:
        return None
    header = read_dataset(path)
    digest = hashlib.sha256(_text(header, "SOPInstanceUID").encode()).hexdigest()[:12]
    series = _series_items(header, modality)
    images = [image for one in series for image in _images(one)]
    return DrawnObject(
        path=path,
        name=f"{modality.lower()}_{digest}",
        modality=modality,
        series_uid=next((_text(one, "SeriesInstanceUID") for one in series), ""),
        frame_uid=_frame_uid(header),
        instances=frozenset(_text(image, "ReferencedSOPInstanceUID") for image in images),
        structures=tuple(_segments(header) if modality == SEG else _regions(header)),
    )


def _series_items(header: "Dataset", modality: str) -> list["Dataset"]:
    """The items that name the series an object was drawn on."""
    if modality == SEG:
        return items(header, "ReferencedSeriesSequence")
    return [
        series
        for frame in items(header, "ReferencedFrameOfReferenceSequence")
        for study in items(frame, "RTReferencedStudySequence")
        for series in items(study, "RTReferencedSeriesSequence")
    ]


def _images(series: "Dataset") -> list["Dataset"]:
    return [*items(series, "ReferencedInstanceSequence"), *items(series, "ContourImageSequence")]


def _frame_uid(header: "Dataset") -> str:
    """The FrameOfReferenceUID, which many structure sets keep with their series only."""
    places = [header, *items(header, "ReferencedFrameOfReferenceSequence")]
    return next((uid for place in places if (uid := _text(place, "FrameOfReferenceUID"))), "")


def _segments(header: "Dataset") -> Iterator[Structure]:
    is_map = _text(header, "SegmentationType") == "LABELMAP"
    frames = items(header, "PerFrameFunctionalGroupsSequence")
    # If there is one segment, all frames may say so together.
    groups = [*frames, *items(header, "SharedFunctionalGroupsSequence")] if frames else []
    with_frames = {
        int(one.ReferencedSegmentNumber) for group in groups for one in items(group, "SegmentIdentificationSequence")
    }
    for segment in items(header, "SegmentSequence"):
        number = int(segment.SegmentNumber)
        kind = items(segment, "SegmentedPropertyTypeCodeSequence")
        region = items(segment, "AnatomicRegionSequence")
        sides = [
            *(side for one in kind for side in items(one, "SegmentedPropertyTypeModifierCodeSequence")),
            *(side for one in region for side in items(one, "AnatomicRegionModifierSequence")),
        ]
        yield Structure(
            number=number,
            name=_text(segment, "SegmentLabel"),
            kind=_coded(kind),
            side=_coded(sides),
            region=_coded(region),
            drawn=is_map or number in with_frames,
        )


def _regions(header: "Dataset") -> Iterator[Structure]:
    contours = {int(one.ReferencedROINumber): one for one in items(header, "ROIContourSequence")}
    kinds = {
        int(one.ReferencedROINumber): items(one, "RTROIIdentificationCodeSequence")
        for one in items(header, "RTROIObservationsSequence")
    }
    for region in items(header, "StructureSetROISequence"):
        number = int(region.ROINumber)
        closed = [one for one in items(contours.get(number), "ContourSequence") if is_closed(one)]
        yield Structure(
            number=number, name=_text(region, "ROIName"), kind=_coded(kinds.get(number, [])), drawn=bool(closed)
        )


def is_closed(contour: "Dataset") -> bool:
    """Whether a contour encloses something."""
    return _text(contour, "ContourGeometricType") in CLOSED


def items(place: "Dataset | None", name: str) -> list["Dataset"]:
    """The items of a sequence; none if it is not there."""
    value: Any = None if place is None else place.get(name)
    return [] if value is None else list(value)


def _coded(sequence: list["Dataset"]) -> Coded | None:
    for one in sequence:
        if value := _text(one, "CodeValue"):
            return Coded(value=value, scheme=_text(one, "CodingSchemeDesignator"))
    return None


def _text(place: "Dataset", name: str) -> str:
    value = place.get(name)
    return "" if value is None else str(value).strip()
