"""A series of DICOM files as a volume."""

from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.dicom.apart import normal_of
from flare_infer.dicom.pixels import is_whole, read_planes
from flare_infer.dicom.series import Series
from flare_infer.errors import ImageError
from flare_infer.formats.plausible import checked_placement
from flare_infer.geometry import triple_of_floats
from flare_infer.volume.volume import Placement, Volume

_INT16: Final = np.iinfo(np.int16)


def read_series(series: Series) -> Volume:
    """Read a series slice by slice into one array: int16 if that holds it, else int32; float32 if it has fractions.

    The array runs along the normal of the slices, then along a column and a row of them.

    Raises:
        ImageError: if the series cannot be used, or one of its files cannot be read.
    """
    if series.problem:
        raise ImageError(f"{series}: {series.problem}")
    first = series.slices[0]
    placement = Placement(
        spacing_mm=(series.spacing_mm, *_pair(first.spacing_mm)),
        origin_mm=triple_of_floats(first.position_mm),
        axes=(
            triple_of_floats(normal_of(first).tolist()),
            triple_of_floats(first.axes[3:]),
            triple_of_floats(first.axes[:3]),
        ),
    )
    rows, columns = first.pixels.shape
    placement = checked_placement(Path(series.name), (columns, rows, series.count), placement)
    try:
        array_zyx = _filled(series, rows, columns)
    except ImageError as error:
        raise ImageError(f"{series}: {error}") from error
    return Volume(array_zyx=array_zyx, placement=placement, doubts=series.doubts)


def _pair(spacing_mm: tuple[float, ...]) -> tuple[float, float]:
    return spacing_mm[0], spacing_mm[1]


def _filled(series: Series, rows: int, columns: int) -> npt.NDArray[Any]:
    whole = all(map(is_whole, series.slices))
    array_zyx: npt.NDArray[Any] = np.empty((series.count, rows, columns), np.int16 if whole else np.float32)
    gap = series.count if series.gap is None else series.gap
    targets = sorted(enumerate(series.slices), key=lambda item: (str(item[1].pixels.file), item[0]))
    for _, group in groupby(targets, key=lambda item: item[1].pixels.file):
        items = list(group)
        for (index, _), plane in zip(items, read_planes([one for _, one in items]), strict=True):
            if array_zyx.dtype == np.int16 and not (_INT16.min <= plane.min() and plane.max() <= _INT16.max):
                array_zyx = array_zyx.astype(np.int32)
            array_zyx[index + (index >= gap)] = plane
    if series.gap is not None:
        mean_yx = (array_zyx[gap - 1].astype(np.float64) + array_zyx[gap + 1]) / 2
        array_zyx[gap] = np.rint(mean_yx) if whole else mean_yx
    return array_zyx
