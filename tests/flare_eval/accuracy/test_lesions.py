"""Lesions one by one: small maps counted by hand, and many against a search through all ways of matching."""

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from flare_eval.accuracy.lesions import (
    LEAST_IOU,
    CaseLesions,
    ScoredLesion,
    compare_lesions,
    match_by_iou,
    missed_lesions,
)
from flare_eval.accuracy.pairing import PredictionPair
from flare_eval.accuracy.scoring import score_case
from flare_eval.label_maps.label_map import TrimmedLabelMap, read_trimmed
from flare_infer import labels
from flare_infer.geometry import Box
from flare_infer.volume.volume import Placement

PLACEMENT = Placement(
    spacing_mm=(2.0, 1.0, 0.5),
    origin_mm=(100.0, -50.0, 7.0),
    axes=((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0)),
)


def trimmed(array_zyx: npt.NDArray[Any], placement: Placement = PLACEMENT) -> TrimmedLabelMap:
    box = Box.around(array_zyx) or Box.at((0, 0, 0), (1, 1, 1))
    return TrimmedLabelMap(
        array_zyx=array_zyx[box].astype(np.uint8), box=box, shape=array_zyx.shape, placement=placement
    )


def compared(prediction: npt.NDArray[Any], reference: npt.NDArray[Any]) -> CaseLesions:
    return compare_lesions(trimmed(prediction), trimmed(reference))


def test_a_found_a_missed_and_a_false_lesion(draw) -> None:
    lesions = compared(draw(".TT.....TT"), draw(".TTT.T...."))
    assert [lesion.partner for lesion in lesions.reference] == [1, None]
    assert [lesion.partner for lesion in lesions.predicted] == [1, None]
    found, missed = lesions.reference
    assert (found.iou, found.dsc, found.best_iou) == (pytest.approx(2 / 3), pytest.approx(4 / 5), pytest.approx(2 / 3))
    assert (missed.iou, missed.dsc, missed.best_iou, missed.touched) == (0, 0, 0, False)
    assert [lesion.number for lesion in lesions.found] == [1]
    assert [lesion.number for lesion in lesions.false] == [2]


def test_volume_diameter_and_center_are_those_of_the_scan() -> None:
    reference = np.zeros((9, 9, 9), np.uint8)
    reference[2:4, 3:6, 4:8] = labels.TUMOR  # 24 voxels of 1 mm3
    (lesion,) = missed_lesions(trimmed(reference)).reference
    assert lesion.volume_ml == pytest.approx(0.024)
    assert lesion.diameter_mm == pytest.approx((6 * 24 / np.pi) ** (1 / 3))
    # Voxels (2.5, 4, 5.5): 2.75 mm to the left, 4 mm to the front, 5 mm up.
    assert lesion.center_mm == pytest.approx((102.75, -54.0, 12.0))


def test_parts_are_connected_by_corners_and_numbered_by_size() -> None:
    reference = np.zeros((6, 6, 6), np.uint8)
    reference[0, 0, 0] = reference[1, 1, 1] = labels.TUMOR
    reference[4:, 4:, 4:] = labels.TUMOR
    lesions = missed_lesions(trimmed(reference)).reference
    assert [(lesion.number, round(1000 * lesion.volume_ml)) for lesion in lesions] == [(1, 8), (2, 2)]


def test_other_classes_are_no_lesions(draw) -> None:
    lesions = compared(draw("11T2"), draw("1144"))
    assert lesions.reference == ()
    assert len(lesions.false) == 1


@pytest.mark.parametrize(
    ("prediction", "reference", "found", "false"),
    [("....", "....", 0, 0), ("T..T", "....", 0, 2), ("....", "T..T", 0, 0), ("1...", "2...", 0, 0)],
)
def test_empty_maps(draw, prediction: str, reference: str, found: int, false: int) -> None:
    lesions = compared(draw(prediction), draw(reference))
    assert (len(lesions.found), len(lesions.false)) == (found, false)
    assert len(lesions.reference) == reference.count("T")


def test_a_lesion_at_a_face_of_the_scan_is_cut_even_where_no_box_ends() -> None:
    reference = np.zeros((5, 5, 5), np.uint8)
    reference[4, 2, 2] = reference[2, 2, 0] = reference[2, 2, 2] = labels.TUMOR
    cut = {lesion.center_mm: lesion.cut for lesion in missed_lesions(trimmed(reference)).reference}
    assert list(cut.values()).count(True) == 2
    assert cut[101.0, -52.0, 11.0] is False
    inside = np.zeros((5, 5, 5), np.uint8)
    inside[1:4, 1:4, 1:4] = labels.TUMOR  # fills its own box, which touches no face
    assert not missed_lesions(trimmed(inside)).reference[0].cut


def test_the_least_overlap_counts_and_less_does_not(draw) -> None:
    exactly = compared(draw("T" + "." * 19), draw("T" * 10 + "." * 10))
    assert exactly.reference[0].iou == pytest.approx(LEAST_IOU)
    less = compared(draw("T" + "." * 19), draw("T" * 11 + "." * 9))
    assert (less.reference[0].partner, less.reference[0].touched) == (None, True)
    assert [lesion.touched for lesion in less.false] == [True]


def test_a_further_part_in_a_found_lesion_is_neither_found_nor_false(draw) -> None:
    lesions = compared(draw("TTTT.TT..."), draw("TTTTTTTT.."))
    assert [lesion.partner for lesion in lesions.reference] == [1]
    assert [(lesion.partner, lesion.surplus) for lesion in lesions.predicted] == [(1, False), (None, True)]
    assert lesions.false == ()


def test_one_prediction_over_two_lesions_finds_one_of_them(draw) -> None:
    lesions = compared(draw("TTTTTTTT"), draw("TTTT.TTT"))
    assert [lesion.partner for lesion in lesions.reference] == [1, None]
    assert lesions.reference[1].touched


def test_as_many_as_possible_are_matched_before_the_best_are() -> None:
    assert match_by_iou(np.array([[0.9, 0.2], [0.3, 0.0]])) == {0: 1, 1: 0}
    assert match_by_iou(np.array([[0.9, 0.2], [0.09, 0.0]])) == {0: 0}
    assert match_by_iou(np.zeros((2, 0))) == {}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), density=st.sampled_from([0.05, 0.15, 0.3]))
def test_counts_are_those_of_a_search_through_all_ways(seed: int, density: float) -> None:
    random = np.random.default_rng(seed)
    blobs = [ndimage.zoom(random.random((2, 4, 4)) < density, 2, order=0) for _ in range(2)]
    prediction, reference = blobs[0], np.where(random.random(blobs[1].shape) < 0.8, blobs[1], blobs[0])
    lesions = compared(prediction * labels.TUMOR, reference * labels.TUMOR)
    iou = _iou_by_masks(prediction, reference)
    allowed = iou >= LEAST_IOU
    assert (len(lesions.reference), len(lesions.predicted)) == iou.shape
    assert len(lesions.found) == _most_matches(allowed)
    assert len(lesions.false) == np.count_nonzero(~allowed.any(axis=0))
    assert sorted(lesion.best_iou for lesion in lesions.reference) == pytest.approx(sorted(iou.max(axis=1, initial=0)))


def _iou_by_masks(prediction: npt.NDArray[Any], reference: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    maps = [ndimage.label(mask, np.ones((3, 3, 3))) for mask in (reference, prediction)]
    masks = [[parts == number for number in range(1, count + 1)] for parts, count in maps]
    iou = [[(one & two).sum() / (one | two).sum() for two in masks[1]] for one in masks[0]]
    return np.array(iou).reshape(len(masks[0]), len(masks[1]))


def _most_matches(allowed: npt.NDArray[np.bool_]) -> int:
    """The most ones that a permutation of the shorter side reaches."""
    short, long = sorted(allowed.shape)
    table = allowed if allowed.shape[0] == short else allowed.T
    rows = [row for row in table if row.any()][:6]
    if len(rows) < np.count_nonzero(table.any(axis=1)) or long > 8:
        return _most_matches_by_paths(table)
    return max(
        (
            sum(bool(row[column]) for row, column in zip(rows, order, strict=True))
            for order in permutations(range(long), len(rows))
        ),
        default=0,
    )


def _most_matches_by_paths(table: npt.NDArray[np.bool_]) -> int:
    """The same by augmenting paths, where there are too many permutations."""
    owner: dict[int, int] = {}

    def place(row: int, seen: set[int]) -> bool:
        for column in np.flatnonzero(table[row]).tolist():
            if column not in seen:
                seen.add(column)
                if column not in owner or place(owner[column], seen):
                    owner[column] = row
                    return True
        return False

    return sum(place(row, set()) for row in range(table.shape[0]))


def test_a_case_counts_lesions_only_where_tumors_are_scored(draw, save) -> None:
    reference, prediction = save("r.nii.gz", draw("T.T")), save("p.nii.gz", draw("T.."))
    pair = PredictionPair(case="a", reference=reference, prediction=prediction, annotated=(1, 14))
    lesions = score_case(pair).lesions
    assert lesions is not None
    assert (len(lesions.found), len(lesions.reference)) == (1, 2)
    assert score_case(pair, untrained=(14,)).lesions is None
    without = PredictionPair(case="a", reference=reference, prediction=prediction, annotated=(1,))
    assert score_case(without).lesions is None


def test_a_missing_or_damaged_prediction_misses_every_lesion(draw, save, tmp_path: Path) -> None:
    reference = save("r.nii.gz", draw("T.T"))
    damaged = tmp_path / "p.nii.gz"
    damaged.write_bytes(b"no image")
    for prediction in (None, damaged):
        pair = PredictionPair(case="a", reference=reference, prediction=prediction, annotated=(14,))
        lesions = score_case(pair).lesions
        assert lesions is not None
        assert (len(lesions.reference), len(lesions.found), len(lesions.predicted)) == (2, 0, 0)


def test_a_reference_that_cannot_be_read_changes_no_score_of_a_missing_prediction(tmp_path: Path) -> None:
    reference = tmp_path / "r.nii.gz"
    reference.write_bytes(b"no image")
    scores = score_case(PredictionPair(case="a", reference=reference, prediction=None, annotated=(14,)))
    assert (scores.dsc, scores.missing, scores.lesions) == ({14: 0.0}, True, None)


def test_files_of_one_grid_are_compared_in_the_place_of_the_reference(draw, save) -> None:
    reference = read_trimmed(save("r.nii.gz", draw("..TT ..TT"), origin_x_mm=30.0))
    prediction = read_trimmed(save("p.nii.gz", draw("1.TT 1..."), origin_x_mm=30.0))
    lesions = compare_lesions(prediction, reference)
    assert lesions.reference[0].center_mm == pytest.approx((32.5, 0.5, 0.0))
    assert lesions.predicted[0].center_mm == pytest.approx((32.5, 0.0, 0.0))


def test_a_ball_has_its_diameter() -> None:
    lesion = ScoredLesion(number=1, volume_ml=4 / 3 * np.pi * 1.5**3, center_mm=(0, 0, 0))
    assert lesion.diameter_mm == pytest.approx(30.0)
