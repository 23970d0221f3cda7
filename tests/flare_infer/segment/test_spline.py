"""nnU-Net's resampling restated coordinate by coordinate, as its definition says, with scipy's map_coordinates."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from flare_infer.model.spec import Interpolation
from flare_infer.segment.spline import resample_spline, thick_axis

CUBIC = Interpolation(order=3, order_across=0)
CUBE = (1.0, 1.0, 1.0)


def restated(values: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    """A spline with its knots in the centers of cells, the outermost value repeated outside."""
    padded = np.pad(values.astype(np.float64), 12, mode="edge")
    places = [(np.arange(new) + 0.5) * old / new - 0.5 + 12 for old, new in zip(values.shape, shape, strict=True)]
    grid = np.stack(np.meshgrid(*places, indexing="ij"))
    return np.clip(ndimage.map_coordinates(padded, grid, order=order, mode="nearest"), values.min(), values.max())


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("shape", [(9, 5, 11), (3, 12, 7), (6, 7, 8)])
def test_a_spline_in_three_dimensions(order: int, shape: tuple[int, int, int]) -> None:
    image = noise(6, 7, 8)
    found = resample_spline(image, shape, CUBE, CUBE, Interpolation(order=order, order_across=0))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, restated(image, shape, order), atol=2e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thick_slices_are_resampled_one_by_one(axis: int) -> None:
    # A spacing of 4 against 1: every plane gets its own spline, and new planes are copies of the nearest old ones.
    planes = noise(3, 7, 8)
    spacing = (4.0, 1.0, 1.0)
    old_mm = (*spacing[3 - axis :], *spacing[: 3 - axis]) if axis else spacing
    wanted = np.stack([restated(plane, (10, 6), 3) for plane in planes])[[0, 0, 1, 2, 2]]
    shape = (5, 10, 6)
    found = resample_spline(
        np.moveaxis(planes, 0, axis), np.moveaxis(np.empty(shape), 0, axis).shape, old_mm, CUBE, CUBIC
    )
    np.testing.assert_allclose(np.moveaxis(found, axis, 0), wanted, atol=2e-5)


def test_across_slices_may_be_linear() -> None:
    planes = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((1, 4, 4), np.float32)
    found = resample_spline(planes, (6, 4, 4), (5.0, 1.0, 1.0), CUBE, Interpolation(order=3, order_across=1))
    np.testing.assert_allclose(found[:, 0, 0], [0, 0.25, 0.75, 1.25, 1.75, 2], atol=1e-6)


def test_thick_slices_are_ordinary_where_the_model_says_so() -> None:
    image = noise(3, 7, 8)
    found = resample_spline(image, (5, 7, 9), (4.0, 1.0, 1.0), CUBE, Interpolation(order=3))
    np.testing.assert_allclose(found, restated(image, (5, 7, 9), 3), atol=2e-5)


@pytest.mark.parametrize(
    ("old_mm", "new_mm", "axis"),
    [
        ((5.0, 0.8, 0.8), (1.0, 1.0, 1.0), 0),
        ((0.8, 0.8, 5.0), (1.0, 1.0, 1.0), 2),
        ((1.0, 1.0, 1.0), (0.7, 2.2, 0.7), 1),
        ((3.0, 1.0, 1.0), (1.0, 1.0, 3.0), None),  # three times is not more than three times
        ((0.5, 4.0, 4.0), (5.0, 1.0, 1.0), None),  # two axes are coarse: no slices; the old spacing has decided
        ((5.0, 0.8, 0.8), (0.8, 0.8, 5.0), 0),
    ],
)
def test_which_axis_runs_across_thick_slices(
    old_mm: tuple[float, float, float], new_mm: tuple[float, float, float], axis: int | None
) -> None:
    assert thick_axis(old_mm, new_mm) == axis


def test_a_spline_stays_within_the_image() -> None:
    step = np.zeros((4, 4, 8), np.float32)
    step[..., 4:] = 100
    found = resample_spline(step, (4, 4, 21), CUBE, CUBE, CUBIC)
    assert (found.min(), found.max()) == (0, 100)
    assert all(left <= right + 1e-4 for left, right in pairwise(found[0, 0, 8:13]))


def test_an_equal_shape_changes_nothing() -> None:
    image = noise(3, 4, 5)
    np.testing.assert_array_equal(resample_spline(image, (3, 4, 5), CUBE, (2.0, 2.0, 2.0), CUBIC), image)


def test_between_two_slices_the_upper_one_is_the_nearest() -> None:
    planes = np.arange(4, dtype=np.float32)[:, None, None].repeat(2, axis=1).repeat(2, axis=2)
    nearest = Interpolation(order=3, order_across=0)
    # Half as many slices: their middles lie between the slices 0 and 1, and between 2 and 3.
    halved = resample_spline(planes, (2, 2, 2), (8.0, 2.0, 2.0), (16.0, 2.0, 2.0), nearest)
    assert halved[:, 0, 0].tolist() == [1.0, 3.0]
