"""A series of DICOM files as a volume."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from flare_infer.dicom.apart import along, normal_of, places
from flare_infer.dicom.pixels import INT16, is_whole, read_planes
from flare_infer.dicom.series import Series
from flare_infer.dicom.slices import Slice
from flare_infer.dicom.tilt import Upright, upright_of, upright_plane
from flare_infer.errors import ImageError
from flare_infer.formats.nifti_placement import quiet_itk
from flare_infer.formats.plausible import checked_placement
from flare_infer.geometry import triple_of_floats
from flare_infer.volume.volume import Placement, Volume

_THREADS: Final = 8
"""That read and decode slices; more than there are cores cost a few slices of memory."""

_Item: TypeAlias = tuple[int, Slice]
"""Where a slice goes along the normal, and the slice."""


def read_series(series: Series) -> Volume:
    """Read a series slice by slice into one array: int16 if that holds it, else int32; float32 if it has fractions.

    The array runs along the normal of the slices, then along a column and a row of them. Slices of a tilted gantry are
    shifted until they lie upright behind each other (`dicom.tilt`).

    Raises:
        ImageError: if the series cannot be used, or one of its files cannot be read.
    """
    if series.problem:
        raise ImageError(f"{series}: {series.problem}")
    first, upright = series.slices[0], upright_of(series)
    placement = Placement(
        spacing_mm=(series.spacing_mm, *_pair(first.spacing_mm)),
        origin_mm=_origin(first, upright),
        axes=(
            triple_of_floats(normal_of(first).tolist()),
            triple_of_floats(first.axes[3:]),
            triple_of_floats(first.axes[:3]),
        ),
    )
    rows, columns = upright.shape
    placement = checked_placement(Path(series.name), (columns, rows, series.count), placement)
    try:
        array_zyx = _filled(series, upright)
    except ImageError as error:
        raise ImageError(f"{series}: {error}") from error
    return Volume(array_zyx=array_zyx, placement=placement, doubts=series.doubts)


def _pair(spacing_mm: tuple[float, ...]) -> tuple[float, float]:
    return spacing_mm[0], spacing_mm[1]


def _origin(first: Slice, upright: Upright) -> tuple[float, float, float]:
    """The first voxel of the upright grid, in mm."""
    row_mm, column_mm = upright.offsets[0] * first.spacing_mm
    origin = (
        np.asarray(first.position_mm) - row_mm * np.asarray(first.axes[3:]) - column_mm * np.asarray(first.axes[:3])
    )
    return triple_of_floats(origin.tolist())


def _filled(series: Series, upright: Upright) -> npt.NDArray[Any]:
    gap = series.count if series.gap is None else series.gap
    by_file: dict[Path, list[_Item]] = {}
    for index, one in enumerate(series.slices):
        by_file.setdefault(one.pixels.file, []).append((index + (index >= gap), one))
    whole = all(map(is_whole, series.slices))
    for kind in (np.int16, np.int32) if whole else (np.float32,):
        array_zyx: npt.NDArray[Any] = np.empty((series.count, *upright.shape), kind)
        if _fill(array_zyx, by_file.values(), upright):
            break
    if series.gap is not None:
        mean_yx = (array_zyx[gap - 1].astype(np.float64) + array_zyx[gap + 1]) / 2
        array_zyx[gap] = np.rint(mean_yx) if whole else mean_yx
    return array_zyx


def _fill(array_zyx: npt.NDArray[Any], files: Iterable[Sequence[_Item]], upright: Upright) -> bool:
    """Read the slices of all files into an array; whether its type holds them, else it is left unfinished."""

    def read(items: Sequence[_Item]) -> bool:
        slices = [one for _, one in items]
        try:
            for (index, _), plane in zip(items, read_planes(slices), strict=True):
                if array_zyx.dtype == np.int16 and plane.dtype != np.int16 and not _fits(plane):
                    return False
                array_zyx[index] = upright_plane(plane, upright, index)
        except ImageError as error:
            raise ImageError(f"{error}; it lies {places(along(slices))}") from error
        return True

    # Decoding holds no lock of Python's; what is set for all threads is set before there are several.
    with quiet_itk(), ThreadPoolExecutor(_THREADS, "slices") as threads:
        return all(threads.map(read, files))


def _fits(plane: npt.NDArray[Any]) -> bool:
    return bool(INT16.min <= plane.min() and plane.max() <= INT16.max)
