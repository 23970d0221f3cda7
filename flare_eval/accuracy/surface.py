"""The normalized surface Dice (NSD) of two masks by surface elements, after Nikolov et al. (2018).

The surface of a mask is cut into elements, one in each 2x2x2 neighborhood that is neither all inside nor all outside;
an element lies at the center of its neighborhood. NSD is the area of the elements of both masks that lie within a
tolerance of an element of the other, divided by the area of all of them.

Only whether an element is within the tolerance matters, not how far it is. So no distance map is made: an element
looks first among its 27 neighbors, where most find the other surface, and the rest ask a tree of the other elements.
Work goes on in slabs, so memory does not follow the size of the organ.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from flare_eval.accuracy.surface_elements import CODES_OF_NEIGHBORHOODS, areas_mm2
from flare_infer.errors import ImageError
from flare_infer.geometry import Box, Shape, Spacing, triple_of_ints

Mask: TypeAlias = npt.NDArray[np.bool_]
_Codes: TypeAlias = npt.NDArray[np.uint8]
_Indices: TypeAlias = npt.NDArray[np.intp]

SLAB_NEIGHBORHOODS: Final = 4_000_000
"""Largest number of neighborhoods in a slab, unless one plane and the planes around it already have more."""

_MARGIN: Final = 2  # voxels of background around a mask: its outermost neighborhoods, and a ring for their neighbors
_ALL_INSIDE: Final = CODES_OF_NEIGHBORHOODS - 1
_ROUNDING: Final = 1e-9


def surface_dice(
    prediction_zyx: Mask,
    reference_zyx: Mask,
    spacing_mm: Spacing,
    tolerance_mm: float,
    slab_neighborhoods: int = SLAB_NEIGHBORHOODS,
) -> float:
    """NSD of two masks of one shape, 0..1.

    Args:
        prediction_zyx: boolean mask, shape (z, y, x).
        reference_zyx: boolean mask of the same shape; the order of the two does not matter.
        spacing_mm: distance between voxel centers along (z, y, x).
        tolerance_mm: distance up to which, inclusive, elements count as agreeing.
        slab_neighborhoods: number of neighborhoods to work on at a time; each takes about 10 bytes of memory.

    Returns:
        the NSD; 0 if exactly one mask is empty, NaN if both are.

    Raises:
        ImageError: if the shapes differ.

    Example:
        A cube and the same cube two slices of 1 mm away agree within 2 mm, and only in part within 1 mm:

        >>> cube, moved = np.zeros((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
        >>> cube[5:10, 5:10, 5:10] = moved[7:12, 5:10, 5:10] = True
        >>> surface_dice(cube, moved, (1.0, 1.0, 1.0), 2.0)
        1.0
        >>> surface_dice(cube, moved, (1.0, 1.0, 1.0), 1.0) < 1
        True
    """
    if prediction_zyx.shape != reference_zyx.shape:
        raise ImageError(f"expected equal shapes, prediction {prediction_zyx.shape}, reference {reference_zyx.shape}")
    of_prediction, of_reference = Box.around(prediction_zyx), Box.around(reference_zyx)
    if of_prediction is None or of_reference is None:
        return float("nan") if of_prediction is of_reference else 0.0
    box = of_prediction.joined(of_reference)
    masks = (prediction_zyx[box], reference_zyx[box])
    areas = areas_mm2(spacing_mm)
    reach = int(tolerance_mm / spacing_mm[0]) + 1
    within = total = 0.0
    for first, last in _slabs(triple_of_ints(masks[0].shape), reach, slab_neighborhoods):
        one, other = (_codes(mask, first - reach, last + reach) for mask in masks)
        inner = slice(reach, reach + last - first)
        for own, opposite in ((one, other), (other, one)):
            elements = _elements(own, inner)
            area = areas[own.ravel()[elements]]
            near = _near(elements, _is_element(opposite), spacing_mm, tolerance_mm)
            within += float(area[near].sum())
            total += float(area.sum())
    return within / total


def _slabs(shape: Shape, reach: int, slab_neighborhoods: int) -> Iterator[tuple[int, int]]:
    """First and last neighborhoods along z, the last exclusive, of slabs that hold all depth + 1 of them."""
    depth, rows, columns = shape
    planes = slab_neighborhoods // ((rows + 2 * _MARGIN) * (columns + 2 * _MARGIN)) - 2 * reach
    step = max(planes, reach)  # less than the reach would mostly repeat the planes around
    for first in range(0, depth + 1, step):
        yield first, min(first + step, depth + 1)


def _codes(mask_zyx: Mask, first: int, last: int) -> _Codes:
    """The codes of the neighborhoods `first` to `last` - 1 along z, in the order of `areas_mm2`.

    Neighborhood k lies between slices k - 1 and k; beyond the mask there is background. In the plane one ring of
    neighborhoods more than the mask touches is given, so that every element has neighbors.
    """
    depth, rows, columns = mask_zyx.shape
    # 1 byte a voxel, and three more for as long as the codes are put together.
    inside = np.zeros((last - first + 1, rows + 2 * _MARGIN, columns + 2 * _MARGIN), dtype=np.uint8)
    lowest, highest = max(first - 1, 0), min(last, depth)
    if lowest < highest:
        inside[lowest - first + 1 : highest - first + 1, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = mask_zyx[lowest:highest]
    in_x = np.left_shift(inside[:, :, 1:], np.uint8(1))
    in_x |= inside[:, :, :-1]
    in_y = np.left_shift(in_x[:, 1:], np.uint8(2))
    in_y |= in_x[:, :-1]
    codes: _Codes = np.left_shift(in_y[1:], np.uint8(4))
    codes |= in_y[:-1]
    return codes


def _is_element(codes: _Codes) -> Mask:
    return np.asarray(codes - np.uint8(1) < _ALL_INSIDE - 1)  # 0 wraps around to 255


def _elements(codes: _Codes, inner: slice) -> _Indices:
    """Flat indices of the elements in the planes `inner`."""
    plane = codes.shape[1] * codes.shape[2]
    return np.asarray(np.flatnonzero(_is_element(codes[inner])) + inner.start * plane)


def _near(elements: _Indices, opposite: Mask, spacing_mm: Spacing, tolerance_mm: float) -> Mask:
    """Whether each of the elements has one of the `opposite` within the tolerance."""
    near = np.zeros(elements.shape, dtype=np.bool_)
    flat = opposite.ravel()
    left = np.arange(elements.size)
    strides = (opposite.shape[1] * opposite.shape[2], opposite.shape[2], 1)
    for steps in _neighbors(spacing_mm, tolerance_mm):
        hit = flat[elements[left] + sum(step * stride for step, stride in zip(steps, strides, strict=True))]
        near[left[hit]] = True
        left = left[~hit]
        if not left.size:
            return near
    others = np.flatnonzero(flat)
    if others.size:
        shape = triple_of_ints(opposite.shape)
        near[left] = _near_by_tree(_points(elements[left], shape), _points(others, shape), spacing_mm, tolerance_mm)
    return near


def _neighbors(spacing_mm: Spacing, tolerance_mm: float) -> list[tuple[int, ...]]:
    """Steps (z, y, x) to the element itself and to those of its 26 neighbors within the tolerance, nearest first."""
    by_distance = sorted((_length_mm(np.array(steps), spacing_mm), steps) for steps in product((-1, 0, 1), repeat=3))
    return [steps for distance, steps in by_distance if distance <= tolerance_mm]


def _near_by_tree(points: npt.NDArray[Any], others: npt.NDArray[Any], spacing_mm: Spacing, tolerance_mm: float) -> Mask:
    tree = cKDTree(others * np.array(spacing_mm), balanced_tree=False, compact_nodes=False)
    bound = tolerance_mm * (1 + _ROUNDING) + _ROUNDING
    _, nearest = tree.query(points * np.array(spacing_mm), distance_upper_bound=bound)
    found = nearest < len(others)  # the tree says "none" by this index
    near = np.zeros(len(points), dtype=np.bool_)
    # From whole steps, as a distance transform does: 2 steps of 2.5 mm are within 5 mm, whatever the tree rounds.
    near[found] = _length_mm(points[found] - others[nearest[found]], spacing_mm) <= tolerance_mm
    return near


def _points(indices: _Indices, shape: Shape) -> npt.NDArray[Any]:
    return np.stack(np.unravel_index(indices, shape), axis=1)


def _length_mm(steps: npt.NDArray[Any], spacing_mm: Spacing) -> Any:
    return np.sqrt(((steps * np.array(spacing_mm)) ** 2).sum(axis=-1))
