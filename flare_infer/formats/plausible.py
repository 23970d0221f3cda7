"""Whether a scanner can have measured what a header says of a scan's place."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from flare_infer.errors import ImageError
from flare_infer.volume.volume import Placement

MOST_REPAIRED_DEG: Final = 0.5
"""Shear beyond this is no rounding: the scanner's gantry was tilted, or the header is wrong."""


def shear_deg(columns: npt.NDArray[np.float64]) -> float:
    """By how much the axes, columns of any length of a 3 x 3 matrix, miss right angles at worst, in degrees.

    90 if a column is zero or not finite: then there is no angle.
    """
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(lengths).all() or not lengths.all():
        return 90.0
    unit = columns / lengths
    x, y, z = unit.T
    cosines = np.abs([x @ y, y @ z, x @ z])
    return float(np.degrees(np.arcsin(np.minimum(cosines, 1.0))).max())


def squared_up(columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The nearest axes at right angles, as columns of the same lengths; a mirrored frame stays mirrored."""
    lengths = np.linalg.norm(columns, axis=0)
    left, _, right = np.linalg.svd(columns / lengths)
    nearest: npt.NDArray[np.float64] = left @ right * lengths
    return nearest


FINEST_MM: Final = 0.01
COARSEST_MM: Final = 100.0
"""Spacings beyond are none of a CT of a patient: a damaged header, or one in meters."""

FARTHEST_MM: Final = 1e6
"""No scanner is a kilometer wide."""

LONGEST_MM: Final = 10_000.0
"""No patient is longer than ten meters."""

_ROUNDING_DEG: Final = 0.01
"""Shear that ITK itself lets pass as rounding, about; it is left as it is."""


def checked_placement(path: Path, lengths: tuple[int, int, int], placement: Placement) -> Placement:
    """The placement of a scan, its axes squared up, after a look at whether a scanner can have measured it.

    It comes before any memory is taken: another grid may need far more than the file.

    Args:
        path: the scan, for the error.
        lengths: voxels along (x, y, z).
        placement: the placement as stored.

    Raises:
        ImageError: if no scanner can.
    """
    spacing = " x ".join(f"{value:g}" for value in placement.spacing_mm[::-1])
    if not all(FINEST_MM <= value <= COARSEST_MM for value in placement.spacing_mm):
        raise ImageError(
            f"{path}: expected a spacing between {FINEST_MM:g} and {COARSEST_MM:g} mm, found {spacing} mm; correct the "
            "header (its unit, too), or export the scan again"
        )
    lengths_mm = [size * step for size, step in zip(lengths, placement.spacing_mm[::-1], strict=True)]
    if max(lengths_mm) > LONGEST_MM:
        raise ImageError(
            f"{path}: expected a scan of at most {LONGEST_MM:g} mm, found {max(lengths_mm):g} mm "
            f"({' x '.join(map(str, lengths))} voxels of {spacing} mm); correct the header"
        )
    if not all(abs(value) <= FARTHEST_MM for value in placement.origin_mm):
        raise ImageError(f"{path}: the header is damaged: found the origin {placement.origin_mm} mm; correct it")
    columns = np.asarray(placement.axes, dtype=np.float64)[::-1].T
    if shear_deg(columns) <= _ROUNDING_DEG and np.allclose(np.linalg.norm(columns, axis=0), 1, rtol=0, atol=1e-3):
        return placement
    refuse_shear(path, columns)
    z, y, x = squared_up(columns / np.linalg.norm(columns, axis=0)).T[::-1].tolist()
    return replace(placement, axes=(tuple(z), tuple(y), tuple(x)))


def refuse_shear(path: Path, columns: npt.NDArray[np.float64]) -> None:
    """Make sure that axes (columns) are directions, and near enough to right angles to be squared up.

    Raises:
        ImageError: if they are not.
    """
    lengths = np.linalg.norm(columns, axis=0)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise ImageError(
            f"{path}: the header is damaged: an axis has no direction; correct it, or export the scan again"
        )
    if (found := shear_deg(columns)) > MOST_REPAIRED_DEG:
        raise ImageError(
            f"{path}: the axes miss right angles by {found:.2g} degrees (a tilted gantry?), and at most "
            f"{MOST_REPAIRED_DEG} can be taken for rounding; resample the scan to a grid with right angles first"
        )
