"""What a case is read from: an image file, or a series of DICOM files."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from flare_infer.dicom.series import Series
from flare_infer.dicom.volume import read_series
from flare_infer.files.hashing import sha256_of_file
from flare_infer.files.write_whole import PART_PREFIX
from flare_infer.formats.volume_io import read_volume
from flare_infer.volume.volume import Volume

if TYPE_CHECKING:
    from flare_infer.segment.segmenter import Prepared

Scan: TypeAlias = Path | Series


def read_scan(scan: Scan) -> Volume:
    """The volume of a scan.

    Raises:
        ImageError: if it cannot be read.
    """
    return read_series(scan) if isinstance(scan, Series) else read_volume(scan)


def with_scan_aside(prepared: "Prepared", folder: Path) -> "Prepared":
    """A prepared scan whose kept scan lies on the disk, from where the system reads the voxels that are looked at.

    What is written beside a label map needs the scan once more: meanwhile it would take up to half as much memory as
    segmenting does. The file has no name, so that nothing is left of it however the process ends.

    Args:
        prepared: what is kept is its `scan`, if it has one.
        folder: an existing folder. If nothing can be written there, a scan stays in memory.
    """
    if (scan := prepared.scan) is None:
        return prepared
    try:
        with tempfile.TemporaryFile(prefix=PART_PREFIX, dir=folder) as file:
            for plane_yx in scan.array_zyx:
                file.write(np.ascontiguousarray(plane_yx).data)
            file.flush()
            stored = np.memmap(file, scan.array_zyx.dtype, "r", shape=scan.shape)
    except OSError:
        return prepared
    return replace(prepared, scan=replace(scan, array_zyx=np.asarray(stored)), scan_bytes=0)


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
