"""The area of surface in each neighborhood, against geometry done by hand and against the published table."""

from itertools import combinations

import numpy as np
import pytest

from benchmarks.organizers import surface_distance_package
from flare_eval.accuracy.surface_elements import areas_mm2

CUBE = (1.0, 1.0, 1.0)
ODD = (2.5, 0.7, 1.3)
# Bit of the corner (z, y, x): 1 for x, 2 for y, 4 for z.
ORIGIN, X, Y, Z, XY, XYZ = 1 << 0, 1 << 1, 1 << 2, 1 << 4, 1 << 3, 1 << 7


def test_all_inside_and_all_outside_have_no_surface() -> None:
    assert areas_mm2(CUBE)[[0, 255]].tolist() == [0.0, 0.0]
    assert (areas_mm2(CUBE)[1:255] > 0).all()


def test_one_corner_is_cut_off_by_a_triangle() -> None:
    # Sides of length sqrt(1/2): sqrt(3) / 4 * 1/2
    assert areas_mm2(CUBE)[ORIGIN] == pytest.approx(np.sqrt(3) / 8)


def test_one_corner_at_another_spacing_by_heron() -> None:
    z, y, x = (value / 2 for value in ODD)
    sides = [np.hypot(one, other) for one, other in combinations((z, y, x), 2)]
    half = sum(sides) / 2
    heron = np.sqrt(half * np.prod([half - side for side in sides]))
    assert areas_mm2(ODD)[[ORIGIN, X, Y, Z, XY, XYZ]] == pytest.approx(heron)


def test_an_edge_is_cut_off_by_a_rectangle() -> None:
    # Two corners along x: a rectangle as long as x, across the diagonal of the half steps in z and y.
    assert areas_mm2(ODD)[ORIGIN | X] == pytest.approx(1.3 * np.hypot(2.5 / 2, 0.7 / 2))


def test_a_flat_surface_has_the_area_of_the_face() -> None:
    assert areas_mm2(ODD)[ORIGIN | X | Y | XY] == pytest.approx(0.7 * 1.3)


def test_corners_across_from_each_other_are_cut_off_alone() -> None:
    areas = areas_mm2(ODD)
    assert areas[ORIGIN | XY] == pytest.approx(2 * areas[ORIGIN])
    assert areas[ORIGIN | XYZ] == pytest.approx(2 * areas[ORIGIN])


def test_inside_and_outside_have_the_same_surface() -> None:
    areas = areas_mm2(ODD)
    assert areas == pytest.approx(areas[::-1])


@pytest.mark.parametrize("spacing_mm", [CUBE, ODD, (5.0, 0.8, 0.8), (0.1, 3.0, 40.0)])
def test_agrees_with_the_published_table(spacing_mm: tuple[float, float, float]) -> None:
    with surface_distance_package() as package:
        tables = package.metrics.lookup_tables
        theirs = tables.create_table_neighbour_code_to_surface_area(spacing_mm)
        bits = tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL.ravel()  # of the corners in our order
    in_their_order = [sum(int(bit) for place, bit in enumerate(bits) if code >> place & 1) for code in range(256)]
    np.testing.assert_allclose(areas_mm2(spacing_mm), theirs[in_their_order], rtol=1e-12)
