"""Series of DICOM files as scanners and archives leave them, written from an array whose voxels are known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

PATIENT = "Doe^Jane", "19480229", "PAT-4711"
"""Name, birth date and number of the patient, which no output may hold."""

ROOT = "1.2.826.0.1.3680043.8.498."
SHAPE = (12, 20, 24)
SPACING = (2.5, 0.7, 0.9)
UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def phantom(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> npt.NDArray[np.int16]:
    """Hounsfield units (z, y, x) of which no two places are alike, bright at the end of x, and of y."""
    z, y, x = np.indices(shape)
    noise = np.random.default_rng(seed).integers(-30, 30, shape)
    body = ((y - 10) / 9) ** 2 + ((x - 12) / 11) ** 2 < 1
    return np.where(body, 10 * x + 5 * y + 3 * z - 100 + noise, -1000).astype(np.int16)


@dataclass(frozen=True)
class Made:
    """A series to write: its voxels, its place, and what is changed in the header of each slice."""

    array_zyx: npt.NDArray[Any] = field(default_factory=phantom)
    axes: tuple[float, ...] = UPRIGHT
    origin: tuple[float, float, float] = (-100.0, -80.0, -300.0)
    spacing: tuple[float, float, float] = SPACING
    uid: str = ROOT + "1"
    study: str = ROOT + "9"
    lean_mm: float = 0.0
    slope: float = 1.0
    intercept: float = -1024.0
    change: Callable[[Dataset, int], None] = lambda header, index: None

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        return np.cross(self.axes[:3], self.axes[3:])

    def position(self, index: int) -> list[float]:
        """Of a slice; `lean_mm` is by how much it is shifted along a column, as by a tilted gantry."""
        place = np.asarray(self.origin) + index * self.spacing[0] * self.normal
        return [round(float(value), 5) for value in place + index * self.lean_mm * np.asarray(self.axes[3:])]


def header(made: Made, index: int) -> Dataset:
    """One slice."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"{made.uid}.{index + 1}"
    ds.PatientName, ds.PatientBirthDate, ds.PatientID = PATIENT
    ds.StudyDate = "20210203"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = made.study, made.uid
    ds.Modality, ds.SeriesDescription, ds.ImageType = "CT", "Abdomen 2.5", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.AcquisitionNumber, ds.InstanceNumber = 1, index + 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = made.position(index), list(made.axes)
    ds.PixelSpacing = [made.spacing[1], made.spacing[2]]
    ds.FrameOfReferenceUID = made.study + ".5"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleSlope, ds.RescaleIntercept = made.slope, made.intercept
    store(ds, np.rint((made.array_zyx[index] - made.intercept) / made.slope).astype(np.uint16))
    made.change(ds, index)
    return ds


def store(ds: Dataset, stored: npt.NDArray[Any]) -> None:
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.PixelData = stored.tobytes()


def save(ds: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


def write(folder: Path, made: Made | None = None, leave: Sequence[int] = ()) -> Path:
    """Write a series, its slices in an order that no name tells; files are called by the patient."""
    made = made or Made()
    for index in range(len(made.array_zyx)):
        if index not in leave:
            save(header(made, index), folder / f"{PATIENT[0]}_{made.uid[-3:]}_{index * 389 % 997:03}.dcm")
    return folder


def write_enhanced(folder: Path, made: Made, slopes: Sequence[float] = (1.0,)) -> Path:
    """Write one file of many frames, of which each is rescaled by its own slope; frames in reversed order."""
    order = list(reversed(range(len(made.array_zyx))))
    ds = header(made, 0)
    ds.SOPClassUID, ds.NumberOfFrames = EnhancedCTImageStorage, len(order)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(ds, name)
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = list(made.axes), list(made.spacing[1:])
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    ds.SharedFunctionalGroupsSequence = [shared]
    frames, stored = [], []
    for number, index in enumerate(order):
        slope = slopes[number % len(slopes)]
        frame, place, values = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = made.position(index)
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slope, made.intercept, "HU"
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [place], [values]
        frames.append(frame)
        stored.append(np.rint((made.array_zyx[index] - made.intercept) / slope).astype(np.uint16))
    ds.PerFrameFunctionalGroupsSequence = frames
    store(ds, np.stack(stored))
    save(ds, folder / "enhanced.dcm")
    return folder


def with_changes(made: Made, *changes: Callable[[Dataset, int], None]) -> Made:
    def change(ds: Dataset, index: int) -> None:
        for one in changes:
            one(ds, index)

    return replace(made, change=change)
