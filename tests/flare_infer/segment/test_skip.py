import torch
from hypothesis import given
from hypothesis import strategies as st

from flare_infer.model.spec import Normalization
from flare_infer.segment.windows import air_limit, foreground_voxels, holds_only_air, indicator_windows

BOX = (slice(0, 2), slice(0, 2), slice(0, 2))


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
