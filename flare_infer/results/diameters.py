"""The two diameters that radiologists report of a lesion, in the axial slice in which it is longest.

The outline of a slice runs halfway between the voxels inside and those outside, as a marching-squares contour of the
mask does. Both diameters are those of its convex hull, so that a line may leave a lesion that is not convex.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flare_infer.volume.volume import Placement

Points = npt.NDArray[np.float64]


class Diameters(NamedTuple):
    """In mm: the longest diameter in any axial slice, and the longest one perpendicular to it in the same slice."""

    longest_mm: float
    perpendicular_mm: float


def axial_diameters(mask_zyx: npt.NDArray[np.bool_], placement: Placement) -> Diameters:
    """Both diameters of a lesion.

    Args:
        mask_zyx: its voxels, at least one, in the axes of the scan.
        placement: of the scan's grid; its planes that come nearest to axial ones count as axial.
    """
    across = int(np.argmax([abs(axis[2]) for axis in placement.axes]))
    spacing = [step for axis, step in enumerate(placement.spacing_mm) if axis != across]
    planes = np.moveaxis(mask_zyx, across, 0)
    sizes = [math.hypot(*_size_mm(plane, spacing)) for plane in planes]
    best = Diameters(0.0, 0.0)
    # The largest boxes first: once the diagonal of a box is shorter than what was found, no slice can be longer.
    for index in sorted(range(len(planes)), key=lambda index: -sizes[index]):
        if sizes[index] <= best.longest_mm:
            break
        found = _diameters(_hull(_outline(planes[index], spacing)))
        best = max(best, found)
    return best


def _size_mm(plane: npt.NDArray[np.bool_], spacing_mm: list[float]) -> list[float]:
    """Size of the box around the voxels of a plane along its two axes."""
    found = [np.flatnonzero(plane.any(axis=1 - axis)) for axis in (0, 1)]
    return [(at[-1] - at[0] + 1) * step if at.size else 0.0 for at, step in zip(found, spacing_mm, strict=True)]


def _outline(plane: npt.NDArray[np.bool_], spacing_mm: list[float]) -> Points:
    """The middles of the edges of the first and the last voxel of each row, in mm: the hull has no other corners."""
    rows = np.flatnonzero(plane.any(axis=1))
    first = plane[rows].argmax(axis=1)
    last = plane.shape[1] - 1 - plane[rows, ::-1].argmax(axis=1)
    ends = np.concatenate((np.stack((rows, first), axis=1), np.stack((rows, last), axis=1)))
    edges = np.array(((0, 0.5), (0, -0.5), (0.5, 0), (-0.5, 0)))
    outline: Points = (ends[:, None] + edges).reshape(-1, 2) * np.asarray(spacing_mm)
    return outline


def _hull(points: Points) -> Points:
    """Corners of the convex hull of points (n, 2) in the order around it (Andrew's monotone chain).

    SciPy has it, and takes longer to import than this to run.
    """
    ordered = np.unique(points, axis=0)
    halves = [_half_hull(half.tolist()) for half in (ordered, ordered[::-1])]
    return np.array([corner for half in halves for corner in half[:-1]])


def _half_hull(points: list[list[float]]) -> list[list[float]]:
    """The corners at which a path from the first to the last point turns to one side only."""
    kept: list[list[float]] = []
    for x, y in points:
        while len(kept) > 1:
            (x0, y0), (x1, y1) = kept[-2:]
            if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                break
            kept.pop()
        kept.append([x, y])
    return kept


def _diameters(hull: Points) -> Diameters:
    apart = hull[:, None] - hull
    distances = np.hypot(apart[..., 0], apart[..., 1])
    one, other = np.unravel_index(int(distances.argmax()), distances.shape)
    longest = float(distances[one, other])
    along = apart[one, other] / longest
    return Diameters(longest, _longest_chord(hull @ along, hull @ np.array((-along[1], along[0]))))


def _longest_chord(along: npt.NDArray[np.float64], across: npt.NDArray[np.float64]) -> float:
    """Longest chord of a convex polygon in one direction; it begins at a corner.

    Args:
        along: coordinate of each corner, in their order, perpendicular to the direction.
        across: coordinate of each corner in the direction.
    """
    longest = 0.0
    for place in np.unique(along):
        # Where the edges cross the line through this corner: at least twice, but for the two ends of the polygon.
        start, stop = along - place, np.roll(along, -1) - place
        crossed = (start * stop <= 0) & (start != stop)
        share = start[crossed] / (start[crossed] - stop[crossed])
        at = across[crossed] + share * (np.roll(across, -1)[crossed] - across[crossed])
        longest = max(longest, float(np.ptp(at)) if at.size else 0.0)
    return longest
