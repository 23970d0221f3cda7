"""Grids of two volumes: the message names what differs, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from flare_infer.volume.volume import Placement, Volume, how_grids_differ, same_placement
from tests.tiny import LPS

PLACE = Placement(spacing_mm=(3.0, 2.0, 1.5), origin_mm=(-30.0, 20.0, -700.0), axes=LPS)
FLIPPED = (LPS[0], LPS[1], (-1.0, 0.0, 0.0))


def grid(shape: tuple[int, int, int] = (4, 3, 2), **changes: object) -> Volume:
    return Volume(array_zyx=np.zeros(shape, np.uint8), placement=replace(PLACE, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (grid(), ""),
        (grid((4, 3, 1)), "shape (4, 3, 2) against (4, 3, 1)"),
        (grid(axes=FLIPPED), "axes ((0, 0, 1), (0, 1, 0), (1, 0, 0)) against ((0, 0, 1), (0, 1, 0), (-1, 0, 0))"),
        (grid(spacing_mm=(3.0, 2.0, 1.502)), "spacing (mm) (3, 2, 1.5) against (3, 2, 1.502)"),
        (grid(origin_mm=(-30.0, 20.5, -700.0)), "origin (mm) (-30, 20, -700) against (-30, 20.5, -700)"),
        (grid(spacing_mm=(3.0, 2.0, 1.50001), origin_mm=(-30.0, 20.001, -700.0)), ""),
    ],
)
def test_what_differs_is_said(other: Volume, says: str) -> None:
    assert how_grids_differ(grid(), other) == says
    if other.shape == grid().shape:
        assert same_placement(grid().placement, other.placement) == (not says)


def test_all_that_differs_is_said() -> None:
    said = how_grids_differ(grid(), grid((1, 1, 1), spacing_mm=(1.0, 1.0, 1.0), axes=FLIPPED))
    assert [part.split(" ")[0] for part in said.split(", ") if part[0].isalpha()] == ["shape", "spacing", "axes"]
