"""What is known of a DICOM file and of the slices in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

PHASES: Final = ("acquisition", "temporal position", "stack", "kernel", "image type", "contrast", "tube voltage")
"""What tells phases and reconstructions of one series apart, in the order in which it is tried."""

Coding: TypeAlias = Literal["plain", "deflated", "rle", "jpeg"]
"""How pixels are stored: as they are; in a file that is deflated as a whole; by RLE; by JPEG, JPEG-LS or JPEG 2000."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """How a file stores its pixels.

    Attributes:
        file: the file.
        sop_class: its SOPClassUID.
        sop_instance: its SOPInstanceUID, by which other objects refer to it.
        shape: rows and columns of a frame.
        frames: number of frames.
        bits_allocated: bits of a stored value in the file.
        bits_stored: bits of these that hold it, the lowest ones.
        signed: whether they are two's complement.
        padding: least and greatest stored value that mark pixels outside of the image; None if none does.
        coding: how they are compressed.
        offset: offset of the value of their element, in bytes; after inflating, if the file is deflated.
        packed_at: where what is deflated begins in the file.
        order: byte order, "<" or ">".
        trouble: why they cannot be read; empty if nothing speaks against it.
    """

    file: Path
    sop_class: str
    sop_instance: str
    shape: tuple[int, int]
    frames: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    padding: tuple[int, int] | None
    coding: Coding
    offset: int
    packed_at: int
    order: str
    trouble: str


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One slice of a CT.

    Attributes:
        pixels: the file and how its pixels are stored.
        frame: number of the frame in its file, from 0.
        position_mm: LPS coordinates of the center of the first pixel.
        axes: unit vectors along a row (toward the next column), then along a column, six numbers.
        spacing_mm: distance of rows, then of columns.
        slope: factor from stored values to Hounsfield units.
        intercept: what is added then.
        phase: values of `PHASES`, as text.
    """

    pixels: Pixels
    frame: int
    position_mm: tuple[float, ...]
    axes: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    slope: float
    intercept: float
    phase: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DicomFile:
    """What one file says.

    Attributes:
        series_uid: its SeriesInstanceUID.
        study_uid: its StudyInstanceUID.
        patient_id: its PatientID, which goes nowhere unless the user asks for it.
        modality: such as CT.
        description: its SeriesDescription.
        left_out: what it is in place of slices of a CT, such as "localizer"; empty if it holds slices.
        slices: its slices.
    """

    series_uid: str = ""
    study_uid: str = ""
    patient_id: str = ""
    modality: str = ""
    description: str = ""
    left_out: str = ""
    slices: tuple[Slice, ...] = ()
