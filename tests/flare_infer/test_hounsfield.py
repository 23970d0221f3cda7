"""What is said of intensities that are no Hounsfield units."""

import numpy as np
import pytest

from flare_infer.hounsfield import intensity_doubts


@pytest.mark.parametrize("dtype", ["i2", "i4", "f4", "f8"])
def test_one_negative_value_is_enough_wherever_it_is(dtype: str) -> None:
    for place in ((0, 0, 0), (5, 6, 7), (3, 1, 2)):
        array = np.full((6, 7, 8), 40, dtype)
        array[place] = -1
        assert intensity_doubts(array) == ()


def test_an_offset_that_was_lost_is_doubted_and_the_values_are_named() -> None:
    (doubt,) = intensity_doubts(np.array([[[0, 24, 1064, 3071]]], np.uint16))
    assert "no voxel is below 0 (values from 0 to 3071)" in doubt


def test_values_that_are_no_numbers_are_passed_over() -> None:
    array = np.full((2, 3, 4), np.nan)
    assert intensity_doubts(array) == ("no voxel holds a number; all count as air",)
    array[1, 2, 3] = 7
    assert "values from 7 to 7" in intensity_doubts(array)[0]
    array[0, 1, 1] = -np.inf
    assert intensity_doubts(array) == ()
