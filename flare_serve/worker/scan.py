"""From an upload to the scan that `predict` would read."""

from pathlib import Path
from typing import NamedTuple

from flare_infer.dicom.find import ALL, LARGEST, Choice
from flare_infer.dicom.series import Series
from flare_infer.errors import ImageError
from flare_infer.runs.case_files import Found, find_cases
from flare_infer.runs.scan import Scan
from flare_serve.jobs.content import ZIP, ending_of_file


class Taken(NamedTuple):
    """The scan of a job.

    Attributes:
        scan: an image file or a series.
        notes: lines for the user on what was left out.
    """

    scan: Scan
    notes: tuple[str, ...]


def scan_of(upload: Path, work: Path, series: str) -> Taken:
    """The scan of an upload.

    Args:
        upload: a file, whose content says what it is, or a folder of DICOM files.
        work: an existing, empty folder for what an archive holds.
        series: which series of DICOM: largest, or a SeriesInstanceUID.

    Raises:
        ImageError, UsageError: if there is none that can be segmented.
        MissingExtraError: if it is DICOM, and pydicom is not installed.
    """
    choice = Choice(series=ALL if series == LARGEST else series)
    if upload.is_dir():
        return _one_of(find_cases(upload, None, choice))
    ending = ending_of_file(upload)
    # Readers choose a format by the ending; nothing that a client says becomes one.
    named = work / "named" / f"upload{ending}"
    named.parent.mkdir()
    named.symlink_to(upload.resolve())
    scratch = work / "unpacked" if ending == ZIP else None
    if scratch is not None:
        scratch.mkdir()
    return _one_of(find_cases(named, scratch, choice))


def _one_of(found: Found) -> Taken:
    """The only case; of several series that of the most slices, and a line about the others."""
    if not found.cases:
        raise ImageError("; ".join(failure.reason for failure in found.failures) or "no scan found")
    cases = sorted(found.cases.items(), key=lambda case: -_count(case[1]))
    notes = list(found.notes)
    if others := len(cases) - 1:
        notes.append(f"{others} other series of this upload left out; name one by its SeriesInstanceUID to have it")
    return Taken(cases[0][1], tuple(notes))


def _count(scan: Scan) -> int:
    return scan.count if isinstance(scan, Series) else 0
