"""Lesions: diameters against brute force and known shapes, parts, hosts, confidence."""

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from flare_infer import labels
from flare_infer.results.diameters import axial_diameters
from flare_infer.results.statistics import statistics_of
from flare_infer.volume.volume import Axes
from flare_infer.volume.voxel_values import VoxelValues
from tests.flare_infer.results.phantom import boxes, bright, case_of, ellipsoid, placed

SAGITTAL: Axes = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0))


def brute_force(plane: npt.NDArray[Any], spacing_mm: tuple[float, float]) -> float:
    """Longest distance between any two of the middles of the voxels' edges, all pairs tried."""
    corners = [
        ((y + dy) * spacing_mm[0], (x + dx) * spacing_mm[1])
        for y, x in np.argwhere(plane)
        for dy, dx in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))
    ]
    return max(math.dist(one, other) for one, other in itertools.combinations(corners, 2))


@pytest.mark.parametrize("seed", range(6))
def test_longest_diameter_against_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((4, 9, 11)) < (0.08, 0.5)[seed % 2]
    mask[0, 0, 0] = True
    spacing = (3.0, *rng.uniform(0.5, 2.0, 2).tolist())
    longest = max(brute_force(plane, spacing[1:]) for plane in mask if plane.any())
    assert axial_diameters(mask, placed(spacing)).longest_mm == pytest.approx(longest)


@pytest.mark.parametrize("turned", [0.0, 0.4, math.pi / 4, 1.3])
def test_an_ellipsoid_has_the_diameters_that_it_was_drawn_with(turned: float) -> None:
    spacing = (2.5, 0.8, 0.7)
    mask = ellipsoid((21, 91, 101), spacing, half_mm=(20.0, 14.0, 27.0), turned=turned)
    found = axial_diameters(mask, placed(spacing))
    assert found.longest_mm == pytest.approx(54.0, abs=1.0)
    assert found.perpendicular_mm == pytest.approx(28.0, abs=1.0)


def test_a_voxel_is_as_long_as_its_longer_edge() -> None:
    found = axial_diameters(np.ones((1, 1, 1), dtype=np.bool_), placed((5.0, 0.5, 0.8)))
    assert found == pytest.approx((0.8, 0.5))


def test_a_bar_is_as_long_and_wide_as_its_voxels() -> None:
    found = axial_diameters(np.ones((1, 3, 30), dtype=np.bool_), placed((5.0, 1.0, 1.0)))
    # From the middle of the outer edge of one corner voxel to that of the opposite one: 30 by 2 mm.
    assert found.longest_mm == pytest.approx(math.hypot(30, 2))
    assert found.perpendicular_mm == pytest.approx(3.0, abs=0.2)


def test_the_slice_is_the_axial_one_whatever_the_axes() -> None:
    """A rod along the body, in an array whose last axis runs to the back and whose middle one runs up."""
    rod = np.zeros((5, 40, 9), dtype=np.bool_)
    rod[2:4, 2:38, 3:8] = True
    found = axial_diameters(rod, placed((1.0, 1.0, 1.0), SAGITTAL))
    assert found.longest_mm == pytest.approx(brute_force(rod[:, 10], (1.0, 1.0)))


def two_lesions() -> npt.NDArray[Any]:
    return boxes(
        (12, 20, 20),
        liver=(slice(1, 6), slice(2, 14), slice(2, 12)),
        right_kidney=(slice(6, 11), slice(2, 14), slice(2, 12)),
        tumor=(slice(2, 5), slice(4, 8), slice(4, 9)),
    )


def test_parts_are_lesions_the_largest_first() -> None:
    labels_zyx = two_lesions()
    labels_zyx[8:10, 5:7, 4:6] = labels.TUMOR
    scan = bright(labels_zyx, {"tumor": 90})
    scan[8:10, 5:7, 4:6] = 30
    first, second = statistics_of(case_of(labels_zyx, scan, placed((2.0, 1.0, 1.0)))).lesions
    assert (first.number, first.organ, first.cut, first.code) == (1, "liver", False, labels.TUMOR)
    assert first.volume_ml == pytest.approx(3 * 4 * 5 * 2 / 1000)
    assert first.center_mm == pytest.approx((6.0, 5.5, 6.0))
    assert first.intensities is not None
    assert (first.intensities.mean, first.intensities.sd, first.intensities.median) == (90, 0, 90)
    assert first.longest_axial_mm == pytest.approx(brute_force(np.ones((4, 5)), (1.0, 1.0)))
    assert (second.number, second.organ, second.volume_ml) == (2, "right kidney", pytest.approx(0.016))
    assert second.intensities is not None
    assert second.intensities.mean == 30


def test_a_lesion_that_touches_nothing_has_no_organ_and_a_vessel_is_none() -> None:
    labels_zyx = boxes((12, 12, 12), tumor=(slice(4, 7), slice(4, 7), slice(4, 7)))
    assert statistics_of(case_of(labels_zyx)).lesions[0].organ == ""
    labels_zyx[7:10, 4:7, 4:7] = labels.AORTA
    labels_zyx[5, 5, 7] = labels.PANCREAS
    assert statistics_of(case_of(labels_zyx)).lesions[0].organ == "pancreas"


def test_a_lesion_at_the_edge_is_cut() -> None:
    labels_zyx = boxes((6, 6, 6), tumor=(slice(0, 2), slice(2, 4), slice(2, 4)))
    assert statistics_of(case_of(labels_zyx)).lesions[0].cut


def test_confidence_is_the_mean_over_the_lesions_own_voxels() -> None:
    labels_zyx = two_lesions()
    labels_zyx[8:10, 5:7, 4:6] = labels.TUMOR
    indices = np.array([(2, 4, 4), (3, 5, 5), (3, 5, 5), (10, 6, 5), (0, 0, 0)], dtype=np.int32)
    values = np.array([0.5, 0.6, 1.0, 0.8, 0.2], dtype=np.float32)  # the last two lie in no lesion
    known = VoxelValues(indices=indices, values=values)
    first, second = statistics_of(case_of(labels_zyx, lesion_probabilities=known)).lesions
    assert first.confidence == pytest.approx(0.7)
    # None lies in the second one, about (8.5, 5.5, 4.5): the nearest one speaks for it.
    assert second.confidence == pytest.approx(0.8)
    none = VoxelValues(indices=np.empty((0, 3), dtype=np.int32), values=np.empty(0, dtype=np.float32))
    assert statistics_of(case_of(labels_zyx, lesion_probabilities=none)).lesions[0].confidence is None
