"""Every number of a case against one that was computed by hand, on phantoms."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from flare_infer import labels
from flare_infer.geometry import Box
from flare_infer.results.case import ClassStatistics
from flare_infer.results.regions import Region, connected_parts, measure
from flare_infer.results.sections import boxes_of_classes, sections_of
from flare_infer.results.statistics import statistics_of
from flare_infer.volume.volume import Axes, Placement
from tests.flare_infer.results.phantom import boxes, case_of, placed
from tests.tiny import LPS

TURN = math.radians(20)
OBLIQUE: Axes = (
    (0.0, -math.sin(TURN), math.cos(TURN)),
    (0.0, math.cos(TURN), math.sin(TURN)),
    (1.0, 0.0, 0.0),
)
"""Slices tilted by 20 degrees about the left-right axis."""

FLIPPED: Axes = ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))
SAGITTAL: Axes = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0))
"""Array axes run toward left, superior and posterior."""


def of_class(case: Any, name: str) -> ClassStatistics:
    return next(found for found in statistics_of(case).classes if found.name == name)


def test_volume_center_and_extent_on_an_anisotropic_grid() -> None:
    spleen = boxes((9, 12, 14), spleen=(slice(2, 6), slice(3, 8), slice(4, 10)))
    placement = placed((5.0, 2.0, 1.5), origin=(-100.0, 20.0, 300.0))
    found = of_class(case_of(spleen, placement=placement), "spleen")
    assert found.volume_ml == pytest.approx(4 * 5 * 6 * 15 / 1000)
    # Middle of voxels 4..9, 3..7 and 2..5.
    assert found.center_mm == pytest.approx((-100 + 6.5 * 1.5, 20 + 5 * 2, 300 + 3.5 * 5))
    assert found.extent_mm == pytest.approx((6 * 1.5, 5 * 2, 4 * 5))
    assert (found.cut, found.cut_at, found.parts) == (False, (), 1)


@pytest.mark.parametrize(
    ("axes", "center", "extent"),
    [
        (FLIPPED, (-6.5 * 1.5, -5 * 2, -3.5 * 5), (9, 10, 20)),
        (SAGITTAL, (3.5 * 5, 6.5 * 1.5, 5 * 2), (20, 9, 10)),
        (
            OBLIQUE,
            (9.75, -17.5 * math.sin(TURN) + 10 * math.cos(TURN), 17.5 * math.cos(TURN) + 10 * math.sin(TURN)),
            # A box of 20 x 10 mm that is turned: the sides of the box around it.
            (9, 20 * math.sin(TURN) + 10 * math.cos(TURN), 20 * math.cos(TURN) + 10 * math.sin(TURN)),
        ),
    ],
)
def test_place_in_patient_coordinates(axes: Axes, center: tuple[float, ...], extent: tuple[float, ...]) -> None:
    spleen = boxes((9, 12, 14), spleen=(slice(2, 6), slice(3, 8), slice(4, 10)))
    found = of_class(case_of(spleen, placement=placed((5.0, 2.0, 1.5), axes)), "spleen")
    assert found.center_mm == pytest.approx(center)
    assert found.extent_mm == pytest.approx(extent)


def test_extent_of_what_is_no_box_on_an_oblique_grid() -> None:
    """A diagonal of three voxels, along which the tilt cancels: hardly deeper than one voxel."""
    diagonal = np.zeros((5, 5, 5), dtype=np.uint8)
    for step in range(3):
        diagonal[1 + step, 1 + step, 2] = labels.SPLEEN
    turned: Axes = ((0.0, -math.sqrt(0.5), math.sqrt(0.5)), (0.0, math.sqrt(0.5), math.sqrt(0.5)), (1.0, 0.0, 0.0))
    found = of_class(case_of(diagonal, placement=placed((1.0, 1.0, 1.0), turned)), "spleen")
    # Centers lie on one line that runs up: nothing to the back but a voxel's own width, 2 x sqrt(.5).
    assert found.extent_mm == pytest.approx((1.0, math.sqrt(2), 2 * math.sqrt(2) + math.sqrt(2)))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_intensities_are_those_of_the_voxels(dtype: npt.DTypeLike) -> None:
    liver = boxes((6, 6, 6), liver=(slice(1, 3), slice(1, 3), slice(1, 3)))
    scan = np.full((6, 6, 6), -1000, dtype=dtype)
    scan[1:3, 1:3, 1:3] = np.array([10, 20, 30, 40, 50, 60, 70, -2000], dtype=dtype).reshape(2, 2, 2)
    found = of_class(case_of(liver, scan), "liver").intensities
    values = [10, 20, 30, 40, 50, 60, 70, -2000]
    mean = sum(values) / 8
    assert found is not None
    assert found.mean == pytest.approx(mean)
    assert found.sd == pytest.approx(math.sqrt(sum((value - mean) ** 2 for value in values) / 8))
    assert found.median == pytest.approx(35)


def test_values_that_are_no_numbers_do_not_count() -> None:
    liver = boxes((6, 6, 6), liver=(slice(1, 3), slice(1, 3), slice(1, 3)))
    scan = np.full((6, 6, 6), 40.5, dtype=np.float32)
    scan[1, 1, 1], scan[2, 2, 2] = np.nan, np.inf
    found = of_class(case_of(liver, scan), "liver").intensities
    assert found is not None
    assert (found.mean, found.sd, found.median) == (40.5, 0.0, 40.5)
    scan[1:3, 1:3, 1:3] = np.nan
    assert of_class(case_of(liver, scan), "liver").intensities is None


def test_no_intensities_of_values_that_are_no_hounsfield_units() -> None:
    liver = boxes((6, 6, 6), liver=(slice(1, 3), slice(1, 3), slice(1, 3)), tumor=(slice(3, 4),) * 3)
    statistics = statistics_of(case_of(liver, in_hounsfield=False))
    assert all(found.intensities is None for found in (*statistics.classes, *statistics.lesions))
    assert statistics.phase == ""


def test_parts_touch_by_corners_and_a_single_voxel_is_one() -> None:
    liver = boxes((8, 8, 8), liver=(slice(1, 3), slice(1, 3), slice(1, 3)))
    liver[3, 3, 3] = labels.LIVER  # touches by a corner
    assert of_class(case_of(liver), "liver").parts == 1
    liver[5, 5, 5] = labels.LIVER
    assert of_class(case_of(liver), "liver").parts == 2
    liver[4, 4, 4] = labels.SPLEEN  # what lies between them does not join them
    assert of_class(case_of(liver), "liver").parts == 2


@pytest.mark.parametrize(
    ("box", "axes", "sides"),
    [
        ((slice(0, 2), slice(2, 4), slice(2, 4)), LPS, ("lower",)),
        ((slice(6, 8), slice(2, 4), slice(2, 4)), LPS, ("upper",)),
        ((slice(2, 4), slice(2, 4), slice(6, 8)), LPS, ("left",)),
        ((slice(2, 4), slice(0, 4), slice(2, 4)), LPS, ("front",)),
        ((slice(0, 2), slice(2, 4), slice(2, 4)), FLIPPED, ("upper",)),
        ((slice(0, 2), slice(2, 4), slice(6, 8)), SAGITTAL, ("right", "back")),
        ((slice(1, 7), slice(1, 7), slice(1, 7)), LPS, ()),
    ],
)
def test_the_scan_cuts_what_touches_a_face(
    box: tuple[slice, slice, slice], axes: Axes, sides: tuple[str, ...]
) -> None:  # fmt: skip
    found = of_class(case_of(boxes((8, 8, 8), liver=box), placement=placed((1.0, 1.0, 1.0), axes)), "liver")
    assert (found.cut, found.cut_at) == (bool(sides), sides)


def test_padding_is_no_part_of_the_scan() -> None:
    """Three planes that nobody measured lie below: the organ ends where the scan does."""
    liver = boxes((10, 8, 8), liver=(slice(3, 6), slice(2, 4), slice(2, 4)))
    padded = case_of(liver)
    assert not of_class(padded, "liver").cut
    padded.scan.array_zyx[:3] = -1024
    assert of_class(padded, "liver").cut_at == ("lower",)


def test_what_was_not_found_is_listed_with_nothing() -> None:
    statistics = statistics_of(case_of(np.zeros((4, 4, 4))))
    assert [found.code for found in statistics.classes] == list(labels.CODES)
    assert all(
        found == ClassStatistics(code=found.code, name=found.name, volume_ml=0.0) for found in statistics.classes
    )
    assert (statistics.lesions, statistics.flags, statistics.phase) == ((), (), "")


def test_any_models_classes_and_codes_without_names() -> None:
    """Names of another data set, and the number 14 for something that is no tumor."""
    names = ("background", *(f"bone {code}" for code in range(1, 14)), "heart", "kidney tumor")
    labels_zyx = np.zeros((9, 9, 9), dtype=np.uint8)
    labels_zyx[1:4, 1:4, 1:4] = 14
    labels_zyx[5:7, 5:7, 5:7] = 15
    labels_zyx[8, 8, 8] = 200
    statistics = statistics_of(case_of(labels_zyx, names=names))
    assert [(found.name, found.volume_ml) for found in statistics.classes if found.volume_ml] == [
        ("heart", pytest.approx(0.027)),
        ("kidney tumor", pytest.approx(0.008)),
    ]
    assert [(lesion.code, lesion.volume_ml) for lesion in statistics.lesions] == [(15, pytest.approx(0.008))]


def test_confidence_is_that_of_the_case() -> None:
    liver = boxes((6, 6, 6), liver=(slice(1, 3), slice(1, 3), slice(1, 3)))
    statistics = statistics_of(case_of(liver, confidence={labels.LIVER: 0.75, labels.SPLEEN: 0.5}))
    assert {found.name: found.confidence for found in statistics.classes if found.confidence is not None} == {
        "liver": 0.75
    }


def test_boxes_of_classes_against_brute_force() -> None:
    rng = np.random.default_rng(1)
    labels_zyx = (rng.random((7, 8, 9)) < 0.02).astype(np.uint8) * rng.integers(1, 6, (7, 8, 9), dtype=np.uint8)
    labels_zyx[3] = 0
    found = boxes_of_classes(sections_of(labels_zyx))
    assert list(found) == sorted(set(np.unique(labels_zyx).tolist()) - {0})
    for code, around in found.items():
        places = np.argwhere(labels_zyx == code)
        runs = np.split(places, np.flatnonzero(np.diff(places[:, 0]) > 1) + 1)
        assert [box.starts for box in around] == [tuple(run.min(axis=0)) for run in runs]
        assert [box.stops for box in around] == [tuple(run.max(axis=0) + 1) for run in runs]


def test_parts_of_a_thin_class_are_counted() -> None:
    """Of truth values cc3d refuses a mask in which every other voxel of a line is set."""
    for shape in ((1, 1, 3), (1, 3, 1), (3, 1, 1)):
        mask = np.array([True, False, True]).reshape(shape)
        assert connected_parts(Region(box=Box.at((0, 0, 0), shape), mask_zyx=mask))[1] == 2


def test_a_class_in_pieces_is_measured_as_in_one_box() -> None:
    rng = np.random.default_rng(2)
    scan_zyx = rng.integers(-100, 300, (12, 6, 7)).astype(np.int16)
    placement = Placement(spacing_mm=(2.0, 0.5, 0.75), origin_mm=(3.0, -4.0, 5.0), axes=OBLIQUE)
    for _ in range(20):
        mask = rng.random(scan_zyx.shape) < 0.06
        mask[rng.random(12) < 0.3] = False
        mask[0, 0, 0] = mask[11, 5, 6] = True
        whole = Region(box=Box.at((0, 0, 0), mask.shape), mask_zyx=mask)
        pieces = [Region(box=box, mask_zyx=mask[box]) for box in boxes_of_classes(sections_of(mask.view(np.uint8)))[1]]
        assert sum(connected_parts(piece)[1] for piece in pieces) == connected_parts(whole)[1]
        one, several = (measure(regions, placement, scan_zyx) for regions in ([whole], pieces))
        assert several.volume_ml == one.volume_ml
        assert several.center_mm == pytest.approx(one.center_mm)
        assert several.extent_mm == pytest.approx(one.extent_mm)
        assert several.intensities == one.intensities
