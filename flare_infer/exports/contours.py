"""Outlines of masks as closed polygons, of which every pixel's center lies on the right side."""

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

Ring = npt.NDArray[np.float64]
"""Corners (x, y) of a polygon, in pixels from the center of the first one; the last is joined to the first."""

_LEVEL: Final = 0.51
"""Outlines run there between pixels of 1 and of 0: nearer to the mask, so that readers that round to pixels keep it."""

_EXACT: Final = 1e-9


def outlines(mask_yx: npt.NDArray[np.bool_]) -> list[Ring]:
    """The outlines of a mask, one for each part of it; pixels that touch by a corner are two parts.

    A hole is joined to the outline around it by a channel of no width (a keyhole), so that readers that join, subtract
    or take turns all find the same region. The channel runs along a row of pixels of the mask.

    Args:
        mask_yx: the mask (y, x).
    """
    from contourpy import FillType, LineType, SerialContourGenerator, ZInterp  # not before something is found

    height, width = mask_yx.shape
    padded = np.zeros((height + 2, width + 2))
    padded[1:-1, 1:-1] = mask_yx
    x = np.broadcast_to(np.arange(-1.0, width + 1), padded.shape)
    y = np.broadcast_to(np.arange(-1.0, height + 1)[:, None], padded.shape)
    # The function that makes one, `contour_generator`, takes several times as long as the outlines themselves.
    generator = SerialContourGenerator(
        x,
        y,
        padded,
        np.array(False),
        corner_mask=False,
        line_type=LineType.Separate,
        fill_type=FillType.OuterOffset,
        quad_as_tri=False,
        z_interp=ZInterp.Linear,
    )
    found = generator.filled(_LEVEL, np.inf)
    rings = []
    for points, offsets in zip(*found, strict=True):
        outer, *holes = (points[start : end - 1] for start, end in pairwise(offsets))
        rings.append(_without_needless(_joined(outer, holes)))
    return rings


def _joined(outer: Ring, holes: list[Ring]) -> Ring:
    """One ring of an outer one and the holes in it, the leftmost hole first: what is left of it is joined already."""
    for hole in sorted(holes, key=lambda ring: float(ring[:, 0].min())):
        start = int(hole[:, 0].argmin())
        x, y = hole[start]
        left = np.flatnonzero((np.abs(outer[:, 1] - y) < _EXACT) & (outer[:, 0] < x))
        at = int(left[outer[left, 0].argmax()])
        around = np.concatenate([hole[start:], hole[: start + 1]])
        outer = np.concatenate([outer[: at + 1], around, outer[at:]])
    return outer


def _without_needless(ring: Ring) -> Ring:
    """A ring without the corners at which it goes straight on."""
    closed = np.concatenate([ring[-1:], ring, ring[:1]])
    steps_x, steps_y = (closed[1:] - closed[:-1]).T
    turn = steps_x[:-1] * steps_y[1:] - steps_y[:-1] * steps_x[1:]
    onward = steps_x[:-1] * steps_x[1:] + steps_y[:-1] * steps_y[1:] > 0
    kept: Ring = ring[(np.abs(turn) > _EXACT) | ~onward]
    return kept
