"""Windows over a grid: where they lie, how they are weighted, and which of them the rules of skipping pass over."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_infer.model.spec import Normalization
from flare_infer.segment.windows import (
    air_limit,
    foreground_voxels,
    gaussian_importance,
    holds_only_air,
    indicator_windows,
    padded_shape,
    window_grid,
    window_starts,
)

BOX = (slice(0, 2), slice(0, 2), slice(0, 2))

lengths = st.integers(1, 60)
patches = st.integers(1, 24)
steps = st.floats(0.1, 1.0)


@settings(deadline=None)
@given(lengths, patches, steps)
def test_windows_cover_an_axis_without_leaving_it(length: int, patch: int, step: float) -> None:
    starts = window_starts(length, patch, step)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - patch)
    gaps = [after - before for before, after in pairwise(starts)]
    assert all(0 < gap <= patch for gap in gaps)


def test_starts_by_hand() -> None:
    # 0.6 * 10 = 6 voxels at most between windows: (22 - 10) / 6 = 2 gaps
    assert window_starts(22, 10, 0.6) == [0, 6, 12]
    assert window_starts(10, 10, 0.6) == [0]
    assert window_starts(11, 10, 0.6) == [0, 1]


def test_a_grid_by_hand() -> None:
    grid = window_grid((10, 16, 22), (10, 10, 10), 0.6)
    assert grid.starts == ((0,), (0, 6), (0, 6, 12))
    assert grid.count == 6
    assert grid.box(0, 1, 2) == (slice(0, 10), slice(6, 16), slice(12, 22))


def test_a_volume_is_padded_to_one_window() -> None:
    assert padded_shape((2, 4, 9), (4, 4, 4)) == (4, 4, 9)


def test_importance_peaks_in_the_middle_and_vanishes_nowhere() -> None:
    weight = gaussian_importance((5, 7, 9), torch.device("cpu"))
    assert weight[2, 3, 4] == weight.max() == 1
    assert weight.min() > 0
    torch.testing.assert_close(weight, weight.flip(0, 1, 2))
    # two sigma (a quarter of 9 voxels) off the center: exp(-2)
    profile = gaussian_importance((1, 1, 33), torch.device("cpu"))[0, 0]
    assert profile[16 + 8] == pytest.approx(torch.exp(torch.tensor(-0.5 * (8 / (33 / 8)) ** 2)).item())


def test_of_an_even_patch_the_center_is_the_upper_middle_voxel_as_in_nnunet() -> None:
    profile = gaussian_importance((1, 1, 4), torch.device("cpu"))[0, 0]
    assert profile.argmax() == 2
    # sigma 1/2 voxel: exp(-2) one voxel off, exp(-8) two voxels off
    torch.testing.assert_close(profile, torch.exp(torch.tensor([-8.0, -2.0, 0.0, -2.0])))


def test_the_least_weight_is_what_half_precision_can_tell_from_zero() -> None:
    weight = gaussian_importance((32, 48, 48), torch.device("cpu"))
    # At a corner, 4 sigma off along each axis, the Gaussian itself is exp(-24) = 4e-11.
    assert weight[0, 0, 0].item() == weight.min().item() == pytest.approx(6e-9, rel=1e-6)
    assert weight[16, 24, 36].item() == pytest.approx(0.13534, rel=1e-4)  # 2 sigma off: exp(-2)


def test_starts_are_rounded_to_the_nearest_voxel() -> None:
    # Seven gaps of 32 / 7: 0, 4.57, 9.14, 13.71, 18.29, 22.86, 27.43, 32
    assert window_starts(40, 8, 0.6) == [0, 5, 9, 14, 18, 23, 27, 32]


def drawn(rows: int, columns: int) -> list[str]:
    """The grid as a picture, row by row: X speaks for the others."""
    chosen = indicator_windows(rows, columns)
    return ["".join("X" if (row, column) in chosen else "." for column in range(columns)) for row in range(rows)]


def test_the_papers_grids() -> None:
    assert drawn(2, 2) == ["X.", ".X"]  # windows 0 and 3
    assert drawn(3, 3) == ["...", ".X.", "..."]  # window 4


def test_grids_that_the_paper_does_not_have() -> None:
    assert drawn(1, 1) == ["X"]
    assert drawn(1, 2) == ["XX"]
    assert drawn(1, 3) == [".X."]
    assert drawn(2, 3) == [".X.", ".X."]
    assert drawn(3, 4) == ["....", ".XX.", "...."]
    assert drawn(4, 4) == ["....", ".X..", "..X.", "...."]
    assert drawn(5, 5)[2] == "..X.."


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12))
def test_indicators_are_windows_of_the_grid(rows: int, columns: int) -> None:
    chosen = indicator_windows(rows, columns)
    assert 1 <= len(set(chosen)) == len(chosen) <= 2
    assert all(0 <= row < rows and 0 <= column < columns for row, column in chosen)


def test_air_is_what_is_darker_than_500_below_water() -> None:
    lung_and_fat = Normalization(clip_low_hu=-934, clip_high_hu=276, mean_hu=-100, std_hu=100)
    assert air_limit(lung_and_fat) == -4.0
    # A model that clips at -200 HU sees lung and air alike; what is as dark as its darkest may be either.
    soft_tissue = Normalization(clip_low_hu=-200, clip_high_hu=300, mean_hu=50, std_hu=100)
    assert air_limit(soft_tissue) == -2.5


def test_one_bright_voxel_makes_a_window_worth_running() -> None:
    image = torch.full((2, 2, 4), -3.0)
    assert holds_only_air(image, BOX, -3.0)
    image[1, 1, 2] = 0
    assert holds_only_air(image, BOX, -3.0)
    image[1, 1, 1] = -2.9
    assert not holds_only_air(image, BOX, -3.0)


def test_foreground_is_where_a_class_beats_background() -> None:
    logits = torch.zeros(3, 1, 2, 2)
    logits[0] = 1
    logits[1, 0, 0, 0] = 2
    logits[2, 0, 1, 1] = 3
    logits[2, 0, 0, 1] = 1  # a tie is background's
    assert foreground_voxels(logits) == 2
