"""Notices about intensities that are not Hounsfield units."""

import numpy as np
import pytest

from flare_infer.formats.volume_io import read_volume
from flare_infer.volume.hounsfield import intensity_doubts
from tests.real_data import real_data

MM = (3.0, 3.0, 3.0)


def doubts(array: np.ndarray, spacing_mm: tuple[float, float, float]) -> tuple[str, ...]:
    deep, high, wide = (slice(0, length) for length in array.shape)
    return intensity_doubts(array, (deep, high, wide), spacing_mm)


def drawn_ct() -> np.ndarray:
    """A body as scanners see it: air, a tenth of fat, soft tissue, some bone and lung, with noise."""
    rng = np.random.default_rng(0)
    image = np.full((20, 60, 60), -1000.0)
    image[:, 10:50, 10:50] = 50
    image[:, 10:50, 10:14] = -100
    image[:, 20:30, 20:35] = -850
    image[:, 40:43, 28:32] = 700
    return (image + rng.normal(0, 15, image.shape)).round().clip(-1024, 3071).astype(np.float32)


def changed(hu: np.ndarray) -> dict[str, tuple[np.ndarray, str]]:
    """What is done to intensities on their way, and words of what is said of each."""
    outside = hu < -990
    window = np.clip((hu + 160) / 400, 0, 1)
    return {
        "offset lost": (hu + 1024, "subtract 1024"),
        "offset lost, padded with -2000": (np.where(outside, -2000, hu + 1024), "no Hounsfield units"),
        "offset subtracted twice": (hu - 1024, "add 1024"),
        "offset subtracted twice, clipped": (np.clip(hu - 1024, -2048, None), "add 1024"),
        "z-scores": ((hu - hu.mean()) / hu.std(), "nearly all values lie between"),
        "from -1 to 1": (np.clip((hu + 1000) / 1500, 0, 1) * 2 - 1, "nearly all values lie between"),
        "from 0 to 1, padded with -1": (np.where(outside, -1, window), "nearly all values lie between"),
        "from 0 to 255, padded with -1": (np.where(outside, -1, (255 * window).round()), "where fat does"),
        "from 0 to 255, padded with -1024": (np.where(outside, -1024, (255 * window).round()), "where fat does"),
        "attenuation per cm": ((hu / 1000 + 1) * 0.19, "nearly all values lie between"),
        "density in mg/mL": (hu + 1000, "subtract 1024"),
    }


def test_a_ct_is_not_doubted_in_any_type_and_with_values_that_are_no_numbers() -> None:
    hu = drawn_ct()
    for dtype in ("i2", "i4", "f4", "f8"):
        assert doubts(hu.astype(dtype), MM) == ()
    hu[:, :10] = np.nan
    hu[0, 0, 0] = -np.inf
    assert doubts(hu, MM) == ()


@pytest.mark.parametrize("what", changed(drawn_ct()))
def test_what_is_done_to_intensities_is_told(what: str) -> None:
    array, words = changed(drawn_ct())[what]
    assert array.min() < 0 or what in {"density in mg/mL", "offset lost"}
    (doubt,) = doubts(array, MM)
    assert "as if these were no Hounsfield units" in doubt
    assert words in doubt


def test_real_cts_are_not_doubted_and_every_change_of_one_is() -> None:
    folder = real_data()
    paths = [path for name in ("ct", "ct_unlabeled") for path in sorted((folder / name).glob("*_0000.nii.gz"))]
    for path in paths:
        scan = read_volume(path)
        assert doubts(scan.array_zyx, scan.placement.spacing_mm) == (), path.name
    small = read_volume(folder / "ct" / "torso3mm_slab_0000.nii.gz")
    for what, (array, words) in changed(small.array_zyx.astype(np.float32)).items():
        (doubt,) = doubts(array, small.placement.spacing_mm)
        assert words in doubt, what


def test_a_scout_is_not_judged() -> None:
    assert doubts(drawn_ct()[:2] / 1000, MM) == ()
    assert doubts(drawn_ct()[:3] / 1000, MM) != ()


def test_padding_is_not_judged() -> None:
    padded = np.pad(drawn_ct(), ((0, 0), (200, 200), (200, 200)), constant_values=0)
    (told,) = doubts(padded, MM)
    assert "of the voxels lie between" in told or "where fat does" in told
    assert intensity_doubts(padded, (slice(0, 20), slice(200, 260), slice(200, 260)), MM) == ()


def test_the_voxels_that_are_judged_lie_apart_in_millimeters() -> None:
    hu = np.repeat(drawn_ct(), 3, axis=2)
    assert doubts(hu + 1024, (3.0, 3.0, 1.0)) == doubts(drawn_ct() + 1024, MM)


@pytest.mark.parametrize("dtype", ["i2", "i4", "f4", "f8"])
def test_of_few_voxels_one_negative_value_is_enough_wherever_it_is(dtype: str) -> None:
    for place in ((0, 0, 0), (5, 6, 7), (3, 1, 2)):
        array = np.full((6, 7, 8), 40, dtype)
        array[place] = -1
        assert doubts(array, MM) == ()


def test_an_offset_that_was_lost_is_doubted_and_the_values_are_named() -> None:
    (doubt,) = doubts(np.array([[[0, 24, 1064, 3071]]], np.uint16), MM)
    assert "no voxel is below 0 (values from 0 to 3071)" in doubt


def test_values_that_are_no_numbers_are_passed_over() -> None:
    array = np.full((2, 3, 4), np.nan)
    assert doubts(array, MM) == ("no voxel holds a number; all count as air",)
    array[1, 2, 3] = 7
    assert "values from 7 to 7" in doubts(array, MM)[0]
    array[0, 1, 1] = -np.inf
    assert doubts(array, MM) == ()
