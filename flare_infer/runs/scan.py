"""What a case is read from: an image file, or a series of DICOM files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from flare_infer.dicom.series import Series
from flare_infer.dicom.volume import read_series
from flare_infer.files.hashing import sha256_of_file
from flare_infer.formats.volume_io import read_volume
from flare_infer.volume.volume import Volume

Scan: TypeAlias = Path | Series


def read_scan(scan: Scan) -> Volume:
    """The volume of a scan.

    Raises:
        ImageError: if it cannot be read.
    """
    return read_series(scan) if isinstance(scan, Series) else read_volume(scan)


def sha256_of_scan(scan: Scan, wanted: Callable[[], bool]) -> str:
    """The hash of all that is read of a scan; empty as for `sha256_of_file`."""
    return scan.sha256(wanted) if isinstance(scan, Series) else sha256_of_file(scan, wanted)


def stamp_of(scan: Scan) -> tuple[int, int, int] | None:
    """What changes when a file is written to or exchanged."""
    if isinstance(scan, Series):
        return scan.stamp()
    try:
        found = os.stat(scan)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def file_name(scan: Scan) -> str:
    """The name of an image file; of a series how many slices it has, since its files may be called by the patient."""
    return f"DICOM series of {len(scan.slices)} slices" if isinstance(scan, Series) else scan.name
