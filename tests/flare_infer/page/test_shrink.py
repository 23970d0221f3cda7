"""A case made small: read back as the page's script reads it, and compared with the scan."""

import base64
import itertools
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest

from flare_infer.page.shrink import MOST_VOXELS, Shrunken, shrink, steps_for
from flare_infer.volume.volume import Placement, Volume
from tests.flare_infer.page.cases import phantom_case, turned

LPS = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def volume(array, spacing=(1.0, 0.75, 0.75)):
    return Volume(array_zyx=array, placement=Placement(spacing_mm=spacing, origin_mm=(5.0, -7.0, 11.0), axes=LPS))


def read(small: Shrunken):
    """Intensities and label codes, as the page shows them."""
    image, codes = (
        np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8).reshape(small.shape)
        for packed in (small.image, small.labels)
    )
    return np.array(small.values)[np.cumsum(image, axis=2) % 256], codes


def means(array, steps):
    z, y, x = steps
    cut = array[: len(array) // z * z, : array.shape[1] // y * y, : array.shape[2] // x * x].astype(float)
    shape = [part for size, step in zip(cut.shape, steps, strict=True) for part in (size // step, step)]
    return cut.reshape(shape).mean(axis=(1, 3, 5))


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32, np.float64])
def test_gray_values_are_means_of_what_became_one_voxel(kind):
    array = np.random.default_rng(0).integers(-1100, 1600, (7, 10, 12)).astype(kind)
    small = shrink(volume(array), volume(np.zeros(array.shape, np.uint8)), True)
    assert small.steps == (2, 2, 2)
    shown, _ = read(small)
    expected = means(np.clip(array, -1024, 3071), small.steps)
    soft = (expected > -160) & (expected < 260)
    assert soft.sum() > 5
    assert np.abs(shown - expected)[soft].max() < 2.6
    inside = (expected > -1000) & (expected < 1400)
    assert np.abs(shown - expected)[inside].max() < 16


def test_bytes_without_a_sign_and_values_out_of_range():
    array = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    shown, _ = read(shrink(volume(array, (2.0, 2.0, 2.0)), volume(array), True))
    assert np.abs(shown - array).max() < 2.6
    extreme = np.array([-32768, -2000, -1024, 1500, 3071, 32767], np.int16).reshape(1, 2, 3)
    shown, _ = read(shrink(volume(extreme, (2.0, 2.0, 2.0)), volume(extreme.astype(np.uint8)), True))
    assert shown.ravel().tolist() == [-1024, -1024, -1024, 1500, 1500, 1500]


def test_what_is_no_number_is_air():
    array = np.full((2, 4, 4), 40.0, np.float32)
    array[0, 0, 0], array[0, 1, 1], array[1, 1, 1] = np.nan, -np.inf, np.inf
    shown, _ = read(shrink(volume(array, (2.0, 2.0, 2.0)), volume(np.zeros(array.shape, np.uint8)), True))
    assert shown[0, 0, 0] == shown[0, 1, 1] == -1024
    assert shown[1, 1, 1] == 1500
    assert abs(shown[0, 3, 3] - 40) < 2.6


def test_other_intensities_are_spread_over_their_range():
    array = np.linspace(0, 0.01, 4 * 8 * 8, dtype=np.float32).reshape(4, 8, 8)
    small = shrink(volume(array, (2.0, 2.0, 2.0)), volume(np.zeros(array.shape, np.uint8)), False)
    shown, _ = read(small)
    assert np.abs(shown - array).max() < 0.0003
    flat = shrink(volume(np.zeros((2, 4, 4))), volume(np.zeros((2, 4, 4), np.uint8)), False)
    assert flat.values[-1] > flat.values[0]


def test_labels_are_those_of_the_middle():
    codes = np.zeros((3, 9, 9), np.uint8)
    codes[1, 4, 4] = 7
    small = shrink(volume(codes.astype(np.int16), (0.5, 0.5, 0.5)), volume(codes, (0.5, 0.5, 0.5)), True)
    assert small.steps == (3, 3, 3)
    _, shown = read(small)
    assert shown.tolist() == [[[0, 0, 0], [0, 7, 0], [0, 0, 0]]]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flipped", [(), (0,), (1, 2), (0, 1, 2)])
def test_every_voxel_keeps_its_place_in_the_patient(order, flipped):
    case = phantom_case(shape=(36, 40, 44))
    axes = [order.index(axis) for axis in flipped]
    scan, codes = turned(case.scan, order, axes), turned(case.labels, order, axes)
    small = shrink(scan, codes, True)
    shown, classes = read(small)
    affine = np.array(small.affine)
    place = case.scan.placement
    for index in np.argwhere(classes)[::97]:
        right, front, up = affine @ [*index[::-1], 1]
        lps = np.array([-right, -front, up])
        source = (lps - place.origin_mm) @ np.array(place.axes).T / place.spacing_mm
        assert np.abs(source - source.round()).max() < 1e-4
        z, y, x = source.round().astype(int)
        assert case.labels.array_zyx[z, y, x] == classes[tuple(index)]
        assert abs(case.scan.array_zyx[z, y, x] - shown[tuple(index)]) < 13


def test_a_small_voxel_lies_in_the_middle_of_those_it_was_made_of():
    array = np.zeros((4, 4, 4), np.int16)
    small = shrink(volume(array, (1.0, 1.5, 0.75)), volume(array.astype(np.uint8)), True)
    assert small.steps == (2, 1, 2)
    assert small.spacing_mm == (2.0, 1.5, 1.5)
    assert np.array(small.affine)[:, 3].tolist() == [-5.375, 7.0, 11.5]


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((554, 512, 512), (1.0, 0.78, 0.78)), ((2000, 1024, 1024), (0.3, 0.3, 0.3)), ((2000, 600, 600), (1.0, 1.0, 1.0))],
)
def test_there_are_never_too_many_voxels(shape, spacing):
    steps = steps_for(shape, spacing)
    assert np.prod([size // step for size, step in zip(shape, steps, strict=True)]) <= MOST_VOXELS
    assert all(step * mm < 4.5 for step, mm in zip(steps, spacing, strict=True))


def test_thin_scans_keep_their_slices():
    assert steps_for((1, 4, 4), (0.1, 0.1, 0.1)) == (1, 4, 4)


def test_no_copy_of_the_scan_is_made():
    array = np.random.default_rng(0).integers(-1000, 1000, (64, 256, 256)).astype(np.float32)
    scan = replace(volume(array), array_zyx=array)
    codes = volume(np.zeros(array.shape, np.uint8))
    tracemalloc.start()
    small = shrink(scan, codes, True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(small.image) + array.nbytes / 8
