"""What a scan may be given as: a file, DICOM files, an image of SimpleITK, or an array with its place."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the field's own alias

from flare_infer.dicom.find import ALL, Choice
from flare_infer.dicom.series import Series
from flare_infer.dicom.unzip import scratch_for
from flare_infer.errors import ImageError, UsageError
from flare_infer.formats.itk_image import placed, placement_xyz, volume_of_image
from flare_infer.runs.case_files import find_cases
from flare_infer.runs.scan import Scan, read_scan
from flare_infer.volume.label_values import refuse_label_map
from flare_infer.volume.volume import Volume

ArrayScan: TypeAlias = tuple[npt.NDArray[Any], Sequence[float], Sequence[float], npt.ArrayLike]
"""A scan as (array, spacing, origin, direction).

The array holds Hounsfield units and is indexed (z, y, x), as `SimpleITK.GetArrayFromImage` gives it. The rest is what
an image of SimpleITK has, in the order (x, y, z): spacing in mm; origin in mm, the patient coordinates LPS of the first
voxel's center; direction, nine numbers row by row or 3 x 3, whose columns are the unit vectors along x, y and z.
"""

ScanInput: TypeAlias = str | os.PathLike[str] | sitk.Image | ArrayScan
"""A path (image file, DICOM folder, one DICOM file of a series, zip archive), an image of SimpleITK, or an array."""

_NAMELESS: Final = "scan"
_NAMES_SHOWN: Final = 5


@dataclass(frozen=True, kw_only=True)
class OpenScan:
    """A scan that was read.

    Attributes:
        name: name of the case; "scan" if it was given in memory.
        volume: intensities with their place.
        source: the DICOM series that it was read from; None if there is none.
        notes: lines for the user on DICOM files that were left out.
    """

    name: str
    volume: Volume
    source: Series | None = None
    notes: tuple[str, ...] = ()


@contextmanager
def open_scan(scan: ScanInput, series: str | None, *, fill_gaps: bool) -> Iterator[OpenScan]:
    """Read a scan; what an archive held is there until the end.

    Args:
        scan: the scan.
        series: which DICOM series, if there are several: `largest`, a SeriesInstanceUID, or the name of a case.
        fill_gaps: whether one missing slice of a DICOM series is interpolated.

    Raises:
        UsageError: if there is no scan, or more than one.
        ImageError: if the scan cannot be read, or is a label map.
        MissingExtraError: if it is DICOM, and pydicom is not installed.
    """
    if isinstance(scan, str | os.PathLike):
        path = Path(scan)
        with scratch_for(path) as scratch:
            yield _from_files(path, scratch, Choice(series=series or ALL, fill_gaps=fill_gaps))
        return
    volume = volume_of_image(scan, "image") if isinstance(scan, sitk.Image) else _from_array(scan)
    what = "image" if isinstance(scan, sitk.Image) else "array"
    refuse_label_map(what, volume.array_zyx)
    yield OpenScan(name=_NAMELESS, volume=volume)


def _from_files(path: Path, scratch: Path | None, choice: Choice) -> OpenScan:
    if not path.exists():
        raise UsageError(f"{path}: not found; name an image file, or DICOM files")
    found = find_cases(path, scratch, choice)
    cases = dict(found.cases)
    if len(cases) != 1:
        _refuse_count(path, list(cases), [failure.reason for failure in found.failures])
    ((name, where),) = cases.items()
    volume = read_scan(where)
    refuse_label_map(_shown(where), volume.array_zyx)
    source = where if isinstance(where, Series) else None
    return OpenScan(name=name, volume=volume, source=source, notes=tuple(found.notes))


def _refuse_count(path: Path, names: Sequence[str], reasons: Sequence[str]) -> None:
    if not names:
        raise ImageError("; ".join(reasons) or f"{path}: no scan found")
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
    raise UsageError(
        f"{path}: expected one scan, found {len(names)}: {shown}; name a file, or one DICOM series with series="
    )


def _shown(scan: Scan) -> str:
    return str(scan)


def _from_array(scan: ArrayScan) -> Volume:
    if not isinstance(scan, tuple) or len(scan) != 4:
        raise UsageError(
            f"expected a path, an image of SimpleITK, or (array, spacing, origin, direction), found {_kind(scan)}"
        )
    array, spacing, origin, direction = scan
    array_zyx = np.asarray(array)
    if array_zyx.ndim != 3 or not array_zyx.size:
        raise ImageError(f"array: expected three dimensions (z, y, x) with voxels, found shape {array_zyx.shape}")
    if array_zyx.dtype.kind not in "iuf":
        raise ImageError(f"array: expected Hounsfield units, integers or floats, found {array_zyx.dtype}")
    if array_zyx.dtype.kind == "f":
        # Slice by slice: no second array of that size. Of other widths of floats torch has none.
        if not all(np.isfinite(slice_yx).all() for slice_yx in array_zyx):
            raise ImageError("array: expected finite numbers, found NaN or infinity; fill what is not scanned with air")
        array_zyx = array_zyx.astype(np.float64 if array_zyx.dtype.itemsize >= 8 else np.float32, copy=False)
    native = np.ascontiguousarray(array_zyx, dtype=array_zyx.dtype.newbyteorder("="))
    return placed(native, placement_xyz("array", spacing, origin, direction), "array")


def _kind(scan: object) -> str:
    return f"a tuple of {len(scan)}" if isinstance(scan, tuple) else type(scan).__name__
