"""The three rules of cleaning, on label maps drawn by hand."""

import math

import numpy as np
import pytest

from flare_infer.errors import SpecError
from flare_infer.label_set import FLARE23
from flare_infer.labels import ORGANS
from train.dataset.clean import (
    CleaningRules,
    clean_labels,
    distance_to_organs_mm,
    small_components,
    tumor_region,
    tumors_far_from_organs,
    tumors_outside_region,
)
from train.dataset.components import components

CUBIC = (1.0, 1.0, 1.0)


def drawn(*rows: str) -> np.ndarray:
    """One plane; L is liver, A aorta, S spleen, T tumor."""
    codes = {".": 0, "L": 1, "S": 3, "A": 5, "T": 14}
    return np.array([[[codes[letter] for letter in row] for row in rows]], dtype=np.uint8)


def test_diagonal_neighbors_are_one_component_and_classes_are_apart() -> None:
    found = list(components(drawn("L...", ".L..", "..TT", "L...")))
    assert [(part.code, part.voxels) for part in found] == [(1, 2), (14, 2), (1, 1)]
    assert found[1].box == (slice(0, 1), slice(2, 3), slice(2, 4))
    labels = np.zeros((3, 3, 3), dtype=np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = 14
    assert [part.voxels for part in components(labels)] == [2], "a corner connects"
    assert list(components(np.zeros((2, 2, 2), dtype=np.uint8))) == []


def test_small_components_go_but_an_organ_keeps_its_largest() -> None:
    labels = drawn("LL.L.T.TT", "LL.......", "....SS..S")
    found = list(small_components(labels, smallest_voxels=3))
    assert sorted((part.component.code, part.component.voxels) for part in found) == [(1, 1), (3, 1), (14, 1), (14, 2)]
    assert all(part.rule == "small" for part in found)
    cleaned = clean_labels(labels, CUBIC, (1, 3, 14), CleaningRules(smallest_voxels=3))
    np.testing.assert_array_equal(cleaned.labels_zyx, drawn("LL.......", "LL.......", "....SS..."))
    assert labels[0, 0, 3] == 1, "the input is not modified"


def test_a_component_of_exactly_the_limit_stays() -> None:
    labels = np.zeros((10, 12, 12), dtype=np.uint8)
    labels[0:4, 0:5, 0:5] = 14  # 100 voxels
    labels[6:10, 0:5, 6:11] = 14
    labels[6, 0, 6] = 0  # 99
    cleaned = clean_labels(labels, CUBIC, (14,), CleaningRules())
    assert np.count_nonzero(cleaned.labels_zyx) == 100
    assert cleaned.labels_zyx[0, 0, 0] == 14


def test_the_distance_is_between_surfaces_in_mm() -> None:
    for gap in range(4):
        labels = drawn("L" + "." * gap + "T")
        (tumor,) = components(labels, 14)
        assert distance_to_organs_mm(labels, tumor, (9.0, 9.0, 2.5), most_mm=50.0) == pytest.approx(2.5 * gap)
    labels = drawn("L....", ".....", ".....", ".....", "....T")  # three empty columns, three empty rows
    (tumor,) = components(labels, 14)
    assert distance_to_organs_mm(labels, tumor, (9.0, 4.0, 3.0), most_mm=50.0) == pytest.approx(np.hypot(12.0, 9.0))
    assert distance_to_organs_mm(labels, tumor, (9.0, 4.0, 3.0), most_mm=14.0) is None


def test_far_tumors_are_found_at_the_limit() -> None:
    labels = drawn("L....T.....T")  # gaps of 4 and of 10 voxels
    assert list(tumors_far_from_organs(labels, (1.0, 1.0, 2.0), far_mm=20.0)) == []
    (far,) = tumors_far_from_organs(labels, (1.0, 1.0, 2.0), far_mm=19.9)
    assert far.component.box[2] == slice(11, 12)
    assert far.distance_mm == pytest.approx(20.0)
    assert list(tumors_far_from_organs(drawn("T..T"), CUBIC, far_mm=1.0)) == [], "no organ: nothing can be said"


def test_tumors_outside_the_region_are_found_whatever_tube_is_near() -> None:
    labels = np.zeros((40, 10, 10), dtype=np.uint8)
    labels[0:10, 2:8, 2:8] = 1
    labels[10:40, 5, 5] = 5  # the aorta runs on into the chest
    labels[12, 4, 4] = 14  # outside by three planes, within the margin
    labels[36, 6, 5] = 14  # beside the aorta, but far up
    assert tumor_region(labels, (2.0, 1.0, 1.0), margin_mm=6.0) == (slice(0, 13), slice(0, 10), slice(0, 10))
    (outside,) = tumors_outside_region(labels, (2.0, 1.0, 1.0), margin_mm=6.0)
    assert outside.component.box[0] == slice(36, 37)
    assert list(tumors_far_from_organs(labels, (2.0, 1.0, 1.0), far_mm=6.0)) == []


def test_a_tumor_that_reaches_into_the_region_is_inside() -> None:
    labels = drawn("LL......", "...TTTTT")
    assert list(tumors_outside_region(labels, CUBIC, margin_mm=2.0)) == []
    labels = drawn("LL......", "....TTTT")
    assert len(list(tumors_outside_region(labels, CUBIC, margin_mm=2.0))) == 1


def test_a_box_that_overlaps_the_region_does_not_make_a_tumor_inside() -> None:
    labels = drawn("L...T", "....T", "....T", ".TTTT")
    (outside,) = tumors_outside_region(labels, CUBIC, margin_mm=2.0)
    assert outside.component.voxels == 7


@pytest.mark.parametrize("known", [(1,), (2, 13), (1, 2, 3, 4, 13), ORGANS[1:]], ids=str)
def test_rules_two_and_three_wait_for_known_organs(known: tuple[int, ...]) -> None:
    """A tumor far from the liver may be one of the pancreas, which a case of liver and tumor does not label."""
    labels = drawn("L" + "." * 60 + "T")
    labels[labels == 1] = known[0]
    cleaning = CleaningRules(smallest_voxels=0)
    partial = clean_labels(labels, CUBIC, (*known, 14), cleaning)
    assert partial.organs_unknown == tuple(code for code in ORGANS if code not in known)
    np.testing.assert_array_equal(partial.labels_zyx, labels)
    whole = clean_labels(labels, CUBIC, (*ORGANS, 14), cleaning)
    assert [found.rule for found in whole.findings] == ["outside"], "what one rule removed the next does not find again"
    assert whole.organs_unknown == ()
    enough = clean_labels(labels, CUBIC, (1, 14), CleaningRules(smallest_voxels=0, organs_needed=(1,)))
    assert len(enough.findings) == 1
    assert clean_labels(labels, CUBIC, (1,), cleaning).organs_unknown == (), "no tumor annotated, nothing skipped"


def test_specks_of_organs_do_not_make_a_tumor_near() -> None:
    """The speck goes by the first rule; then the tumor beside it is alone."""
    labels = drawn("LLL" + "." * 60 + "L.TTTT")
    cleaned = clean_labels(labels, CUBIC, (*ORGANS, 14), CleaningRules(smallest_voxels=3))
    assert [(found.rule, found.component.code) for found in cleaned.findings] == [("small", 1), ("outside", 14)]
    assert np.unique(cleaned.labels_zyx).tolist() == [0, 1]


def test_impossible_rules_are_refused() -> None:
    for wrong in (
        {"far_mm": -1.0},
        {"smallest_voxels": -1},
        {"organs_needed": (0,)},
        {"far_mm": float("nan")},
        {"far_mm": math.inf},
    ):
        with pytest.raises(SpecError, match="cleaning"):
            CleaningRules(**wrong)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="organs_needed: 14 is no organ of the label set"):
        CleaningRules(organs_needed=(1, 14)).check(FLARE23)
