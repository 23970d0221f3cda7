"""What touches a mask, and samples so many millimeters apart."""

import numpy as np

from flare_infer.geometry import steps_apart
from flare_infer.volume.neighbors import with_neighbors


def test_neighbors_are_those_by_a_corner_too_and_the_edge_has_none_beyond() -> None:
    mask = np.zeros((3, 4, 5), dtype=bool)
    mask[0, 1, 1] = True
    grown = with_neighbors(mask)
    expected = np.zeros_like(mask)
    expected[:2, :3, :3] = True
    np.testing.assert_array_equal(grown, expected)
    np.testing.assert_array_equal(with_neighbors(mask, 2), with_neighbors(grown))
    assert mask.sum() == 1


def test_samples_lie_about_so_far_apart_and_never_nearer_than_voxels() -> None:
    assert steps_apart((1.0, 0.7, 5.0), 3.0) == (3, 4, 1)
    assert steps_apart((2.0, 2.1, 0.1), 3.0) == (2, 1, 30)
