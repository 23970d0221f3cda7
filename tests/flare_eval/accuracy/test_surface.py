"""NSD of masks small enough to check by hand, and of many against the package `surface-distance`."""

import numpy as np
import pytest

from benchmarks.organizers import nsd
from flare_eval.accuracy.surface import _slabs, surface_dice
from flare_infer.errors import ImageError

MM = (1.0, 1.0, 1.0)


def mask(picture: str, depth: int = 1) -> np.ndarray:
    """`#` is inside; every slice the same."""
    plane = np.array([[letter == "#" for letter in row] for row in picture.split()])
    return np.stack([plane] * depth)


def test_equal_masks_score_one_at_any_tolerance() -> None:
    one = mask("..#. .##. ....", depth=3)
    assert surface_dice(one, one, MM, 0.0) == 1.0


def test_two_voxels_three_apart() -> None:
    one, other = mask("#...."), mask("...#.")
    # A voxel has 8 elements, 4 on each side of it. Shifted by 3, the nearest sides are 2 apart and the far ones 3.
    assert surface_dice(one, other, MM, 1.9) == 0.0
    assert surface_dice(one, other, MM, 2.0) == pytest.approx(0.5)
    assert surface_dice(one, other, MM, 3.0) == 1.0


def test_spacing_decides_not_voxels() -> None:
    one, other = mask("#...."), mask("...#.")
    assert surface_dice(one, other, (1.0, 1.0, 0.5), 1.5) == 1.0
    assert surface_dice(one, other, (1.0, 1.0, 2.5), 5.0) == pytest.approx(0.5)


def test_empty_masks() -> None:
    one, nothing = mask("..#"), mask("...")
    assert surface_dice(one, nothing, MM, 100.0) == 0.0
    assert surface_dice(nothing, one, MM, 100.0) == 0.0
    assert np.isnan(surface_dice(nothing, nothing, MM, 1.0))
    assert np.isnan(surface_dice(one[:0], one[:0], MM, 1.0))


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ImageError, match="equal shapes"):
        surface_dice(mask("#"), mask("##"), MM, 1.0)


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_the_package_on_random_and_degenerate_masks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 12, size=3)
    spacing_mm = tuple(rng.choice([0.5, 0.7, 0.81, 1.0, 2.5, 3.0], size=3).tolist())
    one, other = rng.random(shape) < rng.random(), rng.random(shape) < rng.choice([0.0, 0.1, 0.5, 1.0])
    for tolerance_mm in (0.0, 1.0, 2.0, 3.0, 7.0):
        expected = nsd(one, other, list(spacing_mm), tolerance_mm)
        for slab in (1, 200, 4_000_000):
            found = surface_dice(one, other, spacing_mm, tolerance_mm, slab)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shift", [(0, 0, 1), (1, 0, 0), (2, -3, 4), (0, 9, 0), (5, 5, 5)])
def test_agrees_with_the_package_on_shifted_bodies(shift: tuple[int, int, int]) -> None:
    z, y, x = np.ogrid[-14:15, -20:21, -20:21]
    body = (z / 8) ** 2 + (y / 12) ** 2 + (x / 10) ** 2 < 1
    body &= (y - 4) ** 2 + (x + 3) ** 2 > 9  # a hole through it
    moved = np.roll(body, shift, axis=(0, 1, 2))
    for spacing_mm, tolerance_mm in (((2.5, 0.8, 0.8), 2.0), ((1.0, 1.0, 1.0), 5.0), ((5.0, 1.6, 1.6), 7.0)):
        expected = nsd(moved, body, list(spacing_mm), tolerance_mm)
        assert surface_dice(moved, body, spacing_mm, tolerance_mm) == pytest.approx(expected, abs=1e-12)


def test_the_area_does_not_depend_on_the_slabs() -> None:
    rng = np.random.default_rng(5)
    one, other = rng.random((2, 40, 6, 6)) < 0.2
    whole = surface_dice(one, other, (1.0, 2.0, 2.0), 1.0)
    assert 0 < whole < 1
    for slab in (100, 500, 1300):
        assert surface_dice(one, other, (1.0, 2.0, 2.0), 1.0, slab) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize(
    ("axis", "spacing_mm", "tolerance_mm", "steps"),
    [
        (0, (2.5, 1.0, 1.0), 5.0, 2),
        (0, (2.5, 0.8, 0.8), 7.5, 3),
        (1, (5.0, 0.7, 0.7), 2.1, 3),
        (2, (5.0, 0.9, 0.1), 0.3, 3),
        (2, (1.0, 1.0, 0.7), 4.9, 7),
        (0, (1.0, 1.0, 1.0), 5.0, 5),
    ],
)
def test_a_surface_exactly_at_the_tolerance_agrees_and_one_beyond_does_not(
    axis: int, spacing_mm: tuple[float, float, float], tolerance_mm: float, steps: int
) -> None:
    # Two walls over the whole width: their faces are whole steps apart, far from all rims.
    one = np.zeros((40, 40, 40), dtype=bool)
    other = one.copy()
    one[(slice(None),) * axis + (slice(8, 30),)] = True
    other[(slice(None),) * axis + (slice(8 + steps, 30 + steps),)] = True
    exactly = float(np.sqrt((steps * spacing_mm[axis]) ** 2))
    assert exactly == pytest.approx(tolerance_mm)
    assert surface_dice(one, other, spacing_mm, exactly) == 1.0
    assert surface_dice(one, other, spacing_mm, exactly * (1 - 1e-6)) < 1.0
    # Three steps of 0.1 mm are a little more than 0.3: as a distance transform says.
    expected = nsd(one, other, list(spacing_mm), tolerance_mm)
    assert surface_dice(one, other, spacing_mm, tolerance_mm) == pytest.approx(expected, abs=1e-12)


def test_every_plane_belongs_to_one_slab() -> None:
    # 14 planes in slabs of one, of a few, and of all: the last slab ends with the last neighborhoods.
    for shape in ((14, 3, 3), (1, 3, 3), (2, 5, 4)):
        for neighborhoods in (1, 60, 100, 200, 4_000_000):
            for reach in (1, 2, 5):
                slabs = list(_slabs(shape, reach, neighborhoods))
                covered = [plane for first, last in slabs for plane in range(first, last)]
                assert covered == list(range(shape[0] + 1))


def test_a_slab_sees_the_other_surface_as_far_as_the_tolerance_reaches() -> None:
    # A plate of one slice, and one five slices above it: with slabs of the reach alone, each lies in a slab of its own.
    one, other = np.zeros((2, 24, 6, 6), dtype=bool)
    one[6], other[11] = True, True
    spacing_mm = (1.0, 30.0, 30.0)
    for slab in (1, 4_000_000):
        assert surface_dice(one, other, spacing_mm, 5.0, slab) == 1.0
        assert surface_dice(one, other, spacing_mm, 4.0, slab) == pytest.approx(0.5)
        assert surface_dice(one, other, spacing_mm, 3.9, slab) == 0.0
