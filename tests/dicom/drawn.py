"""Segmentations and structure sets of generated series, drawn from masks whose voxels are known."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import contourpy
import highdicom as hd
import numpy as np
import numpy.typing as npt
from highdicom.seg import SegmentationTypeValues
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

from tests.dicom.series import SHAPE, Made, header, save

Mask = npt.NDArray[np.bool_]

RIGHT, LEFT = Code("24028007", "SCT", "Right"), Code("7771000", "SCT", "Left")
LIVER, KIDNEY = Code("10200004", "SCT", "Liver"), Code("64033007", "SCT", "Kidney")
LIVER_SRT = Code("T-62000", "SRT", "Liver")
NEOPLASM, HEART = Code("108369006", "SCT", "Neoplasm"), Code("80891009", "SCT", "Heart")
_ANATOMY = Code("123037004", "SCT", "Anatomical Structure")


def ball(center: Sequence[float], radius: float, shape: tuple[int, int, int] = SHAPE) -> Mask:
    """A ball that is twice as flat along z as along y and x."""
    z, y, x = np.indices(shape)
    return (2 * (z - center[0])) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2 < radius**2


def description(number: int, name: str, kind: Code, side: Code | None, site: Code | None) -> Any:
    made = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=_ANATOMY,
        segmented_property_type=kind,
        algorithm_type="MANUAL",
        anatomic_regions=None if site is None else [site],
    )
    if side is not None:
        modifier = Dataset()
        modifier.CodeValue, modifier.CodingSchemeDesignator, modifier.CodeMeaning = side[:3]
        made.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return made


def sources(made: Made) -> list[Dataset]:
    """The slices of a series, with what the standard wants besides."""
    slices = []
    for index in range(len(made.array_zyx)):
        one = header(made, index)
        one.PatientSex, one.StudyTime, one.StudyID, one.AccessionNumber, one.ReferringPhysicianName = (
            "F",
            "",
            "",
            "",
            "",
        )
        one.SeriesNumber, one.Manufacturer, one.SliceThickness = 1, "none", made.spacing[0]
        slices.append(one)
    return slices


def write_seg(
    path: Path,
    made: Made,
    parts: Mapping[str, tuple[Mask, Code, Code | None, Code | None]],
    kind: SegmentationTypeValues = SegmentationTypeValues.BINARY,
) -> Path:
    """Write a SEG of masks by name, each with the codes of what it is, of its side, and of where it is."""
    masks = np.stack([mask for mask, *_ in parts.values()], axis=-1)
    descriptions = [description(number, name, *codes) for number, (name, (_, *codes)) in enumerate(parts.items(), 1)]
    save(
        hd.seg.Segmentation(
            source_images=sources(made),
            pixel_array=masks.astype(np.float32 if kind is SegmentationTypeValues.FRACTIONAL else np.uint8),
            segmentation_type=kind,
            segment_descriptions=descriptions,
            series_instance_uid=hd.UID(),
            series_number=2,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="none",
            manufacturer_model_name="none",
            software_versions="1",
            device_serial_number="1",
        ),
        path,
    )
    return path


def outlines(mask_yx: Mask) -> list[npt.NDArray[np.float64]]:
    """The contours of a mask as points (y, x), halfway between voxels in it and out of it; holes have their own."""
    padded = np.pad(mask_yx, 1).astype(float)
    return [line[:-1, ::-1] - 1 for line in contourpy.contour_generator(z=padded).lines(0.5)]


def keyhole(outer: npt.NDArray[np.float64], inner: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """An outline and the one of its hole as one line, which runs to the hole and back."""
    return np.vstack([outer, outer[:1], inner, inner[:1], outer[:1]])


def write_rtstruct(
    path: Path,
    made: Made,
    regions: Mapping[str, Mapping[int, Sequence[npt.NDArray[np.float64]]]],
    kind: str = "CLOSED_PLANAR",
) -> Path:
    """Write a structure set: for each name, by slice, the contours as points (y, x) in voxels."""
    ds, images = header(made, 0), [header(made, index).SOPInstanceUID for index in range(len(made.array_zyx))]
    for name in ("PixelData", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"):
        delattr(ds, name)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = RTStructureSetStorage, hd.UID(), "RTSTRUCT"
    ds.SeriesInstanceUID, ds.StructureSetLabel = hd.UID(), "drawn"
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID, series.ContourImageSequence = made.uid, [_reference(uid) for uid in images]
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = made.study + ".5", [study]
    ds.ReferencedFrameOfReferenceSequence = [frame]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, slices) in enumerate(regions.items(), 1):
        region, drawn = Dataset(), Dataset()
        region.ROINumber, region.ROIName, region.ReferencedFrameOfReferenceUID = number, name, frame.FrameOfReferenceUID
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = [
            _contour(made, index, points, kind) for index, contours in slices.items() for points in contours
        ]
        ds.StructureSetROISequence.append(region)
        ds.ROIContourSequence.append(drawn)
    save(ds, path)
    return path


def _reference(uid: str) -> Dataset:
    image = Dataset()
    image.ReferencedSOPInstanceUID = uid
    return image


def _contour(made: Made, index: int, points_yx: npt.NDArray[np.float64], kind: str) -> Dataset:
    along_y, along_x = np.asarray(made.axes[3:]) * made.spacing[1], np.asarray(made.axes[:3]) * made.spacing[2]
    points = np.asarray(made.position(index)) + points_yx[:, :1] * along_y + points_yx[:, 1:] * along_x
    contour = Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
    contour.ContourData = [round(float(value), 3) for value in points.ravel()]
    return contour
