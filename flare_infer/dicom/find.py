"""The DICOM series of a folder, of the folder of a single file, or of a zip archive."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flare_infer.dicom.headers import DIRECTORY, read_header
from flare_infer.dicom.series import Series, series_of
from flare_infer.dicom.slices import DicomFile
from flare_infer.dicom.unzip import unpack
from flare_infer.errors import ImageError, UsageError
from flare_infer.formats.foreign import is_dicom
from flare_infer.formats.volume_io import IMAGE_SUFFIXES

LARGEST: Final = "largest"
ALL: Final = "all"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which series become cases.

    Attributes:
        series: `ALL`, `LARGEST` (that of the most slices of each study), a SeriesInstanceUID, or the name of a case.
        fill_gaps: whether one missing slice is interpolated.
        keep_identity: whether names of cases begin with the PatientID.
    """

    series: str = ALL
    fill_gaps: bool = False
    keep_identity: bool = False


EVERY: Final = Choice()


def dicom_files(inputs: Path, scratch: Path | None) -> list[Path]:
    """The DICOM files of some inputs, in order.

    Args:
        inputs: a folder, of which folders at any depth are looked at, but for links and hidden ones; a DICOM file,
            which stands for those of its folder; or a zip archive.
        scratch: an existing folder for what is unpacked, if inputs are an archive; else None (`scratch_for`).

    Raises:
        UsageError: if an archive cannot be unpacked.
    """
    if scratch is not None:
        return unpack(inputs, scratch)
    return [path for path in _files(inputs) if is_dicom(path)]


def _files(inputs: Path) -> Iterator[Path]:
    if inputs.is_file():
        yield from sorted(inputs.parent.iterdir())
        return
    for place, inside, names in os.walk(inputs):
        inside[:] = sorted(name for name in inside if name[0] != ".")
        for name in sorted(names):
            if name[0] != "." and not name.lower().endswith(IMAGE_SUFFIXES):
                yield Path(place, name)


def find_series(inputs: Path, files: Sequence[Path], *, fill_gaps: bool = False) -> tuple[list[Series], str]:
    """The series of some DICOM files, and one line on those files that hold no slices of a CT; empty if all do.

    Args:
        inputs: what was asked for; if it is one of the files, only its series is taken.
        files: the files.
        fill_gaps: whether one missing slice is interpolated.

    Raises:
        MissingExtraError: if pydicom is not installed.
    """
    headers: list[DicomFile] = []
    passed_over: Counter[str] = Counter()
    wanted = None
    for path in files:
        try:
            header = read_header(path)
        except ImageError:
            passed_over["damaged"] += 1
            continue
        if header.left_out != DIRECTORY:
            headers.append(header)
        if path == inputs:
            wanted = header.series_uid
    if inputs in files:
        headers = [header for header in headers if header.series_uid == wanted]
    passed_over.update(header.left_out for header in headers if header.left_out)
    counts = ", ".join(f"{count} {what}" for what, count in sorted(passed_over.items()))
    line = f"left out {passed_over.total()} DICOM file(s) that hold no slice of a CT: {counts}" if counts else ""
    return series_of(headers, fill_gaps=fill_gaps), line


def chosen(series: Sequence[Series], choice: str) -> list[Series]:
    """The CT series that are cases, usable or refused, of those that were chosen.

    Args:
        series: all series.
        choice: see `Choice.series`.

    Raises:
        UsageError: if one was named that is not there.
    """
    cases = [one for one in series if not one.problem or one.refused]
    if choice == ALL:
        return cases
    if choice == LARGEST:
        largest: dict[str, Series] = {}
        for one in cases:
            best = largest.setdefault(one.study_uid, one)
            if (not one.problem, one.count) > (not best.problem, best.count):
                largest[one.study_uid] = one
        return list(largest.values())
    if named := [one for one in cases if choice in {one.uid, one.name}]:
        return named
    raise UsageError("--series: no CT series of that UID or name; `flare-infer series` lists those that are there")
