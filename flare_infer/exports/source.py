"""What an object says of the series it was made from: patient, study, frame of reference, images."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from flare_infer.dicom.series import Series
from flare_infer.dicom.slices import Slice
from flare_infer.dicom.tilt import labels_on_slices
from flare_infer.errors import ImageError, MissingExtraError
from flare_infer.exports.encoding import Encoding
from flare_infer.exports.terms import Code
from flare_infer.results.case import SegmentedCase
from flare_infer.version import __version__

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_EMPTY_AT_LEAST: Final = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
_AS_THEY_ARE: Final = (
    *("SpecificCharacterSet", "StudyInstanceUID", "StudyDescription", "ProcedureCodeSequence"),
    *("IssuerOfAccessionNumberSequence", "PatientAge", "PatientSize", "PatientWeight"),
    *("IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID", "OtherPatientIDsSequence"),
    *("PatientBirthTime", "EthnicGroup", "PatientSpeciesDescription", "PatientSpeciesCodeSequence"),
    *("PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence"),
    *("ResponsiblePerson", "ResponsiblePersonRole", "ResponsibleOrganization"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID"),
    *("ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
)
"""Attributes of patient and study (PS3.3, C.7.1 and C.7.2); the first are written empty where the source lacks them."""


@dataclass(frozen=True)
class Image:
    """An image that something refers to.

    Attributes:
        sop_class: its SOPClassUID.
        sop_instance: its SOPInstanceUID.
        frame: number of the frame, from 1; 0 if it is not one of several.
    """

    sop_class: str
    sop_instance: str
    frame: int = 0

    def reference(self, write: Encoding) -> bytes:
        """The elements of a reference to it."""
        frame = write.element(0x0008_1160, "IS", str(self.frame)) if self.frame else b""
        kind = write.element(0x0008_1150, "UI", self.sop_class)
        return kind + write.element(0x0008_1155, "UI", self.sop_instance) + frame


@dataclass(frozen=True)
class Plane:
    """One plane of a label map, in the patient.

    Attributes:
        position_mm: LPS coordinates of the center of the first pixel.
        axes: unit vectors along a row, then along a column.
        spacing_mm: distance of rows, then of columns.
        image: the image that lies there; None if it was missing, and was interpolated.
    """

    position_mm: tuple[float, ...]
    axes: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    image: Image | None


@dataclass(frozen=True)
class Source:
    """The series that a case was read from.

    Attributes:
        header: the header of its first slice.
        series: the series.
        planes: where each plane of the label map lies.
        frame_of_reference: the UID that its coordinates are told by.
    """

    header: "Dataset"
    series: Series
    planes: tuple[Plane, ...]
    frame_of_reference: str

    def images(self, write: Encoding) -> list[bytes]:
        """References to its files, each once, as items of a sequence."""
        found = (Image(one.image.sop_class, one.image.sop_instance) for one in self.planes if one.image)
        return [one.reference(write) for one in dict.fromkeys(found)]


def on_slices(case: SegmentedCase) -> SegmentedCase:
    """The case with its labels on the pixels of the slices of its series: they lie elsewhere if the gantry was tilted.

    The placement stays that of the upright grid; where a slice lies, its file says.

    Raises:
        ImageError: if the label map lies on another grid.
    """
    if case.source is None:
        return case
    try:
        labels_zyx = labels_on_slices(case.labels.array_zyx, case.source)
    except ValueError as error:
        raise ImageError(f"{case.name}: the label map needs the grid of the series: {error}") from error
    if labels_zyx is case.labels.array_zyx:
        return case
    return replace(case, labels=replace(case.labels, array_zyx=labels_zyx))


def read_source(case: SegmentedCase, form: str) -> Source:
    """Read what an object must say of the series of a case.

    Args:
        case: the case.
        form: what is to be written, such as "DICOM SEG", for messages.

    Raises:
        ImageError: if the case was not read from DICOM, or a file cannot be read.
        MissingExtraError: if pydicom is not installed.
    """
    series = case.source
    if series is None:
        raise ImageError(
            f"{case.name}: {form} refers to DICOM images, and the scan is an image file; give the DICOM series, or "
            "choose nifti or masks"
        )
    try:
        from pydicom import dcmread
        from pydicom.uid import generate_uid
    except ImportError as error:
        raise MissingExtraError(f'{form} is written with pydicom: pip install "flare-infer[dicom]"') from error
    try:
        header = dcmread(series.slices[0].pixels.file, stop_before_pixels=True, force=True)
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ImageError(f"{case.name}: a file of the series can no longer be read ({type(error).__name__})") from error
    if not all(one.pixels.sop_instance for one in series.slices):
        raise ImageError(f"{case.name}: a slice has no SOPInstanceUID, and {form} could not refer to it")
    frame_of_reference = str(header.get("FrameOfReferenceUID") or "") or generate_uid(entropy_srcs=[series.uid])
    return Source(header, series, _planes(series), frame_of_reference)


def _planes(series: Series) -> tuple[Plane, ...]:
    planes = [_plane(one) for one in series.slices]
    if series.gap is not None:
        before, after = planes[series.gap - 1 : series.gap + 1]
        middle = (np.asarray(before.position_mm) + np.asarray(after.position_mm)) / 2
        planes.insert(series.gap, Plane(tuple(middle.tolist()), before.axes, before.spacing_mm, None))
    return tuple(planes)


def _plane(one: Slice) -> Plane:
    frame = one.frame + 1 if one.pixels.frames > 1 else 0
    image = Image(one.pixels.sop_class, one.pixels.sop_instance, frame)
    return Plane(one.position_mm, one.axes, one.spacing_mm, image)


def new_object(source: Source, case: SegmentedCase, sop_class: str, syntax: str) -> "Dataset":
    """The header of a new object of a new series in the source's study.

    Args:
        source: what it is made from.
        case: what it is made of; of `made_with`, `model` and `weights_sha256` are told.
        sop_class: its SOPClassUID.
        syntax: its transfer syntax.
    """
    from pydicom import config
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, generate_uid

    now = datetime.now()  # local, as all dates of DICOM are unless an offset is told
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = UID(syntax)
    with config.disable_value_validation():
        copy_attributes(source.header, header, _AS_THEY_ARE)
        for word in _EMPTY_AT_LEAST:
            setattr(header, word, None)
        copy_attributes(source.header, header, _EMPTY_AT_LEAST)
    header.SOPClassUID, header.SOPInstanceUID = sop_class, generate_uid(prefix=None)
    header.SeriesInstanceUID = generate_uid(prefix=None)
    header.InstanceCreationDate = header.SeriesDate = f"{now:%Y%m%d}"
    header.InstanceCreationTime = header.SeriesTime = f"{now:%H%M%S}"
    header.FrameOfReferenceUID, header.PositionReferenceIndicator = source.frame_of_reference, None
    header.Manufacturer, header.ManufacturerModelName = "flare", "flare-infer"
    header.SoftwareVersions = __version__
    header.DeviceSerialNumber = str(case.made_with.get("weights_sha256", ""))[:16] or "0"
    header.InstanceNumber = 1
    return header


def copy_attributes(source: "Dataset", target: "Dataset", words: Iterable[str]) -> None:
    """Copy attributes as they are; one that is damaged beyond reading is passed over."""
    for word in words:
        try:
            if word in source:
                target[word] = source[word]
        except (ValueError, TypeError, LookupError, NotImplementedError):
            continue


def coded(code: Code) -> "Dataset":
    """A code as an item of a sequence."""
    return items_of(CodeValue=code.value, CodingSchemeDesignator=code.scheme, CodeMeaning=code.meaning)[0]


def items_of(**values: Any) -> "list[Dataset]":
    """A sequence of one item with these attributes."""
    from pydicom.dataset import Dataset

    one = Dataset()
    for word, value in values.items():
        setattr(one, word, value)
    return [one]
