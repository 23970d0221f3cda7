"""Axes that are not quite at right angles."""

from typing import Final

import numpy as np
import numpy.typing as npt

MOST_REPAIRED_DEG: Final = 0.5
"""Shear beyond this is no rounding: the scanner's gantry was tilted, or the header is wrong."""


def shear_deg(columns: npt.NDArray[np.float64]) -> float:
    """By how much the axes, columns of any length of a 3 x 3 matrix, miss right angles at worst, in degrees.

    90 if a column is zero or not finite: no angle can be told.
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
