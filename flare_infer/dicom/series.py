"""Slices of many files to series: told apart by geometry and phase, put in order, and judged."""

import hashlib
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from flare_infer.dicom.apart import FEWEST_SLICES, along, normal_of, places, same_grids, told_apart
from flare_infer.dicom.slices import DicomFile, Slice
from flare_infer.errors import ImageError
from flare_infer.files.hashing import sha256_of_file
from flare_infer.formats.plausible import MOST_REPAIRED_DEG

_UNEVEN: Final = 0.1
"""Of the distance of slices: up to here a slice may miss its place, since headers are rounded."""

_MOST_TILT_DEG: Final = 35.0
"""No gantry can be tilted by more than 30 degrees."""

_LONGEST_PATIENT: Final = 40
"""Characters of a PatientID that go into a name, so that no file's name becomes too long."""

_AXIAL: Final = math.cos(math.radians(45))


@dataclass(frozen=True, kw_only=True)
class Series:
    """Slices that make one volume, or why they do not.

    Attributes:
        name: name of the case: a hash of the SeriesInstanceUID, and a number if the series holds several volumes.
        uid: the SeriesInstanceUID.
        study_uid: the StudyInstanceUID.
        patient_id: the PatientID, which goes nowhere unless the user asks for it.
        modality: such as CT.
        description: the SeriesDescription.
        slices: the slices, along their normal; in the order of the files if they were not put in order.
        phase: what tells it apart from the others of one UID, such as "acquisition 2".
        spacing_mm: distance of slices, 0 if it is none.
        tilt_deg: by how much the gantry was tilted, 0 if the slices lie upright behind each other.
        gap: index of the slice before which one is missing, and is interpolated; None if none is.
        doubts: what was put right, a line each.
        problem: why it cannot be used; empty if it can.
        refused: whether that is a failure, and not something that is left out since it is no axial CT.
    """

    name: str
    uid: str
    study_uid: str = ""
    patient_id: str = ""
    modality: str = "CT"
    description: str = ""
    slices: tuple[Slice, ...] = ()
    phase: str = ""
    spacing_mm: float = 0.0
    tilt_deg: float = 0.0
    gap: int | None = None
    doubts: tuple[str, ...] = ()
    problem: str = ""
    refused: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def files(self) -> list[Path]:
        """Its files, each once."""
        return list(dict.fromkeys(one.pixels.file for one in self.slices))

    @property
    def count(self) -> int:
        """Number of slices of its volume, one that is interpolated included."""
        return len(self.slices) + (self.gap is not None)

    def sha256(self, wanted: Callable[[], bool] = lambda: True) -> str:
        """A hash of all that is read; empty if a file cannot be read, or it is no longer wanted."""
        hashes = [sha256_of_file(path, wanted) for path in self.files]
        if not all(hashes):
            return ""
        parts = [*sorted(hashes), self.phase, str(self.gap)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def stamp(self) -> tuple[int, int, int] | None:
        """What changes when one of its files is written to or exchanged; None if one cannot be looked at."""
        try:
            found = [os.stat(path) for path in self.files]
        except OSError:
            return None
        return (
            sum(one.st_size for one in found),
            max(one.st_mtime_ns for one in found),
            sum(one.st_ino for one in found),
        )


def named_by_patient(series: Series) -> Series:
    """The series with a name that begins with the PatientID, of which other characters than A-Z, 0-9, - and . go."""
    patient = re.sub(r"[^A-Za-z0-9.-]+", "_", series.patient_id).strip("._")[:_LONGEST_PATIENT]
    return replace(series, name=f"{patient}_{series.name}") if patient else series


def series_of(files: Iterable[DicomFile], *, fill_gaps: bool = False) -> list[Series]:
    """The series that files belong to, those of other modalities included.

    Args:
        files: what each file says.
        fill_gaps: whether one missing slice is interpolated.
    """
    by_uid: dict[str, list[DicomFile]] = {}
    for file in files:
        by_uid.setdefault(file.series_uid, []).append(file)
    return [series for uid, group in sorted(by_uid.items()) for series in _of_one_uid(uid, group, fill_gaps)]


def _of_one_uid(uid: str, files: Sequence[DicomFile], fill_gaps: bool) -> list[Series]:
    first = files[0]
    slices = [one for file in files for one in file.slices]
    series = Series(
        name=f"ct_{hashlib.sha256(uid.encode()).hexdigest()[:12]}",
        uid=uid,
        study_uid=first.study_uid,
        patient_id=first.patient_id,
        modality=first.modality,
        description=first.description,
    )
    if not slices:
        return [replace(series, problem=first.left_out)]
    grids = same_grids(slices)
    found = [part for grid in grids for part in _volumes(series, grid, fill_gaps)]
    # What is too short to be a case must not decide how the others are called.
    long = [part for part in found if len(part.slices) >= FEWEST_SLICES]
    if len(long) < 2:
        return found
    return [replace(part, name=f"{part.name}_{number}") for number, part in enumerate(long, start=1)] + [
        part for part in found if len(part.slices) < FEWEST_SLICES
    ]


def _volumes(series: Series, grid: Sequence[Slice], fill_gaps: bool) -> list[Series]:
    """The volumes that slices of one grid make; one that is refused if they cannot be told apart."""
    try:
        parts, dropped = told_apart(grid)
    except ImageError as error:
        return [replace(series, slices=tuple(grid), problem=str(error), refused=True)]
    doubts = (f"{dropped} duplicate slice(s) dropped",) if dropped else ()
    return [_judged(replace(series, slices=slices, phase=phase, doubts=doubts), fill_gaps) for phase, slices in parts]


def _judged(series: Series, fill_gaps: bool) -> Series:
    """A series with its spacing, or with the reason why it makes no volume."""
    slices = series.slices
    if trouble := next((one.pixels.trouble for one in slices if one.pixels.trouble), ""):
        found = [at for at, one in zip(along(slices), slices, strict=True) if one.pixels.trouble]
        where = f", {places(found)}" if len(found) < len(slices) else ""
        return replace(
            series,
            problem=f"{len(found)} of {len(slices)} slices{where}: one {trouble}; export the whole series again",
            refused=True,
        )
    if len(slices) < FEWEST_SLICES:
        return replace(series, problem=f"{len(slices)} slice(s), fewer than {FEWEST_SLICES}")
    normal = normal_of(slices[0])
    if not np.isfinite(normal).all() or abs(normal[2]) < _AXIAL:
        return replace(series, problem="slices are not axial")
    at = np.asarray(along(slices))
    steps = np.diff(at)
    usual = float(np.median(steps))
    even = at[0] + (at[-1] - at[0]) / (len(at) - 1) * np.arange(len(at))
    if np.abs(at - even).max() > _UNEVEN * usual:
        series = _uneven(series, at, steps / usual, fill_gaps)
        if series.problem:
            return series
    return _straight(replace(series, spacing_mm=float((at[-1] - at[0]) / (series.count - 1))))


def _uneven(series: Series, at: npt.NDArray[np.float64], steps: npt.NDArray[np.float64], fill_gaps: bool) -> Series:
    """A series whose slices are not equally spaced: a missing slice may be interpolated.

    Args:
        series: the series.
        at: positions of its slices along the normal, in mm.
        steps: distances from slice to slice, in the usual one.
        fill_gaps: whether one missing slice is interpolated.
    """
    whole = np.maximum(np.rint(steps), 1).astype(int)
    missing = int((whole - 1).sum())
    if np.abs(steps - whole).max() > _UNEVEN or missing > len(at) // 4:
        low, high = float(np.diff(at).min()), float(np.diff(at).max())
        problem = f"the slices are not equally spaced: from {low:.4g} to {high:.4g} mm; export the whole series again"
        return replace(series, problem=problem, refused=True)
    if fill_gaps and missing == 1:
        gap = int(np.argmax(whole)) + 1
        place = places([float((at[gap - 1] + at[gap]) / 2)])
        return replace(series, gap=gap, doubts=(*series.doubts, f"a missing slice was interpolated, {place}"))
    lacking = [
        float(at[index] + (at[index + 1] - at[index]) * part / count)
        for index, count in enumerate(whole)
        for part in range(1, count)
    ]
    advice = "; --fill-gaps interpolates it" if missing == 1 else ""
    problem = f"{missing} slice(s) missing, {places(lacking)}; export the whole series again{advice}"
    return replace(series, problem=problem, refused=True)


def _straight(series: Series) -> Series:
    """The series, if its slices lie on one line: along their normal, or shifted as a tilted gantry leaves them."""
    corners = np.asarray([one.position_mm for one in series.slices])
    way = corners[-1] - corners[0]
    normal = normal_of(series.slices[0])
    on_line = corners[0] + np.outer((corners - corners[0]) @ normal / (way @ normal), way)
    off_mm = float(np.linalg.norm(corners - on_line, axis=1).max())
    if off_mm > max(_UNEVEN * series.spacing_mm, min(series.slices[0].spacing_mm)):
        problem = f"the slices do not lie on one line, up to {off_mm:.3g} mm off; export the whole series again"
        return replace(series, problem=problem, refused=True)
    tilt_deg = math.degrees(math.acos(min(1.0, float(way @ normal) / float(np.linalg.norm(way)))))
    if tilt_deg > _MOST_TILT_DEG:
        problem = (
            f"each slice is shifted against the one before, by {tilt_deg:.1f} degrees, more than a gantry can be "
            "tilted; export the whole series again"
        )
        return replace(series, problem=problem, refused=True)
    if tilt_deg <= MOST_REPAIRED_DEG:
        return series
    doubt = (
        f"the gantry was tilted by {tilt_deg:.1f} degrees: the slices are shifted in their planes until they lie "
        "upright behind each other, and the label map lies on that grid"
    )
    return replace(series, tilt_deg=tilt_deg, doubts=(*series.doubts, doubt))
