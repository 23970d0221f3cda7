"""Planes and corners that no scanner measured."""

import numpy as np
import pytest

from flare_infer.volume.padding import bright_padding, without_padding

WIDTHS = ((0, 4), (7, 0), (1, 30))


def scan(shape: tuple[int, int, int] = (9, 12, 15)) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 300, shape).astype(np.int16)


def box(widths: tuple[tuple[int, int], ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(before, before + length) for (before, _), length in zip(widths, shape, strict=True))


@pytest.mark.parametrize("value", [-1024, -2048, -3024, -32768, 0, float("nan")])
def test_planes_of_one_value_are_taken_away_whatever_it_is(value: float) -> None:
    inner = scan().astype(np.float32 if np.isnan(value) else np.int16)
    assert without_padding(np.pad(inner, WIDTHS, constant_values=inner.dtype.type(value))) == box(WIDTHS, inner.shape)


def test_planes_of_several_values_one_around_the_other_are_taken_away() -> None:
    once = np.pad(scan(), WIDTHS, constant_values=-1024)
    twice = np.pad(once, ((2, 0), (0, 3), (5, 5)), constant_values=0)
    expected = ((2, 4), (7, 3), (6, 35))
    assert without_padding(twice) == box(expected, scan().shape)
    sides = np.concatenate([np.full((3, 12, 15), -7, np.int16), scan(), np.full((2, 12, 15), 9, np.int16)])
    assert without_padding(sides) == box(((3, 2), (0, 0), (0, 0)), scan().shape)


@pytest.mark.parametrize("place", [(0, 5, 6), (8, 0, 0), (4, 11, 14), (4, 11, 3), (2, 3, 0), (7, 9, 14)])
def test_a_plane_with_one_other_voxel_stays_wherever_this_is(place: tuple[int, int, int]) -> None:
    array = np.full((9, 12, 15), 5)
    array[place] = 6
    found = without_padding(array)
    assert all(part.start == at and part.stop == at + 1 for part, at in zip(found, place, strict=True)) or (
        found == box(((0, 0),) * 3, array.shape)
    )
    array[4, 6, 7] = 7
    found = without_padding(array)
    for part, one, other in zip(found, place, (4, 6, 7), strict=True):
        assert (part.start, part.stop) == (min(one, other), max(one, other) + 1)


def test_a_scan_of_one_value_and_one_without_padding_are_left_whole() -> None:
    for array in (np.zeros((3, 4, 5)), np.full((2, 2, 2), np.nan), scan(), np.zeros((1, 1, 1))):
        assert without_padding(array) == box(((0, 0),) * 3, array.shape)


def test_a_view_that_is_turned_and_flipped_gives_the_same_box() -> None:
    padded = np.pad(scan(), WIDTHS, constant_values=3)
    deep, high, wide = without_padding(padded)
    turned = without_padding(padded.transpose(2, 0, 1)[:, ::-1])
    assert turned == (wide, slice(len(padded) - deep.stop, len(padded) - deep.start), high)


def test_zeros_in_the_corners_are_padding_and_zeros_in_the_body_are_not() -> None:
    image = scan((10, 40, 40)).clip(-900, -1)
    row, column = np.indices((40, 40))
    corner = row + column < 12
    image[:, corner] = 0
    image[:, 20:24, 20:24] = 0
    found = bright_padding(image)
    np.testing.assert_array_equal(found, np.broadcast_to(corner, image.shape))


def test_dark_corners_and_single_corners_are_no_bright_padding() -> None:
    image = scan((10, 40, 40)).clip(-900, -1)
    image[:, :12, :12] = -1024
    image[:3, -12:, -12:] = 0  # one corner of eight
    assert not bright_padding(image).any()
    assert not bright_padding(np.zeros((4, 4, 4))).any()
