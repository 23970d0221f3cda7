"""The small filters against those of scipy, which they stand for."""

import numpy as np
import pytest
from scipy import ndimage

from flare_infer.geometry import Box
from flare_infer.results.filters import blurred, largest_piece, varies

_RANDOM = np.random.default_rng(5)


@pytest.mark.parametrize("shape", [(40, 33), (1, 20), (3, 2)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_blur_is_the_gaussian_filter(shape: tuple[int, int], share: float) -> None:
    mask = _RANDOM.random(shape) < share
    assert np.array_equal(blurred(mask), ndimage.gaussian_filter(mask.astype(np.float32), 0.5))


@pytest.mark.parametrize("shape", [(40, 33), (2, 20), (5, 1)])
@pytest.mark.parametrize("reach", [1, 3])
def test_varies_where_the_largest_code_around_is_not_the_smallest(shape: tuple[int, int], reach: int) -> None:
    codes = (_RANDOM.random(shape) < 0.03).astype(np.uint8) * _RANDOM.integers(1, 255, shape).astype(np.uint8)
    size = 2 * reach + 1
    expected = ndimage.maximum_filter(codes, size) != ndimage.minimum_filter(codes, size)
    assert np.array_equal(varies(codes, reach), expected)


def test_largest_piece_is_that_of_the_opened_mask() -> None:
    mask = ndimage.gaussian_filter(_RANDOM.random((30, 40, 35)), 2) > 0.5
    parts, count = ndimage.label(ndimage.binary_opening(mask, iterations=2))
    assert count > 1
    largest = 1 + np.argmax(np.bincount(parts.ravel())[1:])
    assert largest_piece(mask, 2) == Box(*ndimage.find_objects(parts)[largest - 1])


def test_nothing_is_left_of_a_thin_sheet() -> None:
    mask = np.zeros((9, 9, 9), np.bool_)
    mask[4:6] = True
    assert largest_piece(mask, 2) is None


def test_a_block_at_the_rim_of_the_grid_loses_its_corners_there_too() -> None:
    mask = np.ones((6, 7, 8), np.bool_)
    assert largest_piece(mask, 2) == Box.at((0, 0, 0), mask.shape)
    assert largest_piece(mask, 3) is None
