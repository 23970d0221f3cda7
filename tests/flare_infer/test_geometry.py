"""Boxes of voxels, and the arithmetic of grids."""

import numpy as np

from flare_infer.geometry import Box, resampled_shape

ONE = Box(slice(0, 2), slice(5, 6), slice(9, 10))


def test_a_box_indexes_an_array() -> None:
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    assert np.array_equal(array[Box.at((1, 2, 3), (2, 1, 3))], array[1:3, 2:3, 3:6])


def test_a_box_grows_as_far_as_its_grid_reaches() -> None:
    assert ONE.grown((1, 1, 1), (3, 7, 10)) == (slice(0, 3), slice(4, 7), slice(8, 10))
    assert ONE.grown((0, 2, 0), (3, 7, 10)) == (slice(0, 2), slice(3, 7), slice(9, 10))


def test_the_box_around_a_mask_is_the_smallest_and_an_empty_mask_has_none() -> None:
    mask = np.zeros((6, 7, 8), dtype=np.bool_)
    assert Box.around(mask) is None
    mask[2, 3, 4] = mask[4, 1, 4] = True
    assert Box.around(mask) == Box.between((2, 1, 4), (5, 4, 5))
    assert Box.around(np.ones((6, 7, 8), dtype=np.uint8)) == Box.at((0, 0, 0), (6, 7, 8))


def test_overlap_and_join_of_two_boxes() -> None:
    one, other = Box.between((0, 0, 0), (4, 4, 4)), Box.between((2, -3, 3), (9, 2, 5))
    assert one.overlap(other) == Box.between((2, 0, 3), (4, 2, 4))
    assert one.joined(other) == Box.between((0, -3, 0), (9, 4, 5))
    assert not one.overlap(other).is_empty


def test_boxes_that_only_touch_have_no_voxel_in_common() -> None:
    apart = Box.at((0, 0, 0), (2, 2, 2)).overlap(Box.at((2, 0, 0), (2, 2, 2)))
    assert apart.is_empty
    assert apart.shape == (0, 2, 2)
    farther = Box.at((0, 0, 0), (2, 2, 2)).overlap(Box.at((7, 0, 0), (2, 2, 2)))
    assert farther.is_empty, "a stop before its start is no negative length"
    assert farther.shape == (0, 2, 2)


def test_a_box_seen_from_another_and_moved_back_is_itself() -> None:
    inner, outer = Box.at((5, 6, 7), (1, 2, 3)), Box.at((2, 6, 1), (9, 9, 9))
    assert inner.seen_from(outer) == Box.at((3, 0, 6), (1, 2, 3))
    assert inner.seen_from(outer).moved(outer.starts) == inner


def test_another_spacing_covers_the_same_field_of_view() -> None:
    assert resampled_shape((10, 11, 1), (2.0, 1.0, 1.0), (4.0, 2.0, 9.0)) == (5, 6, 1)
