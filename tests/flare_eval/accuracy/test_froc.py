"""The free-response curve of a few lesions, counted by hand."""

import pytest

from flare_eval.accuracy.froc import froc
from flare_eval.accuracy.lesions import CaseLesions, ScoredLesion


def lesion(number: int, confidence: float | None = None, partner: int | None = None, iou: float = 0.0) -> ScoredLesion:
    return ScoredLesion(
        number=number, volume_ml=1.0, center_mm=(0, 0, 0), partner=partner, best_iou=iou, confidence=confidence
    )


TWO_CASES = (
    CaseLesions(
        reference=(lesion(1, partner=1), lesion(2, partner=3), lesion(3)),
        predicted=(lesion(1, 0.9, partner=1), lesion(2, 0.7), lesion(3, 0.4, partner=2)),
    ),
    CaseLesions(predicted=(lesion(1, 0.4), lesion(2, 0.8, iou=0.3))),
)


def test_a_curve_by_hand() -> None:
    curve = froc(TWO_CASES)
    assert curve is not None
    assert (curve.scans, curve.lesions) == (2, 3)
    found = [(point.confidence, point.sensitivity, point.false_per_scan) for point in curve.points]
    assert found == [
        (0.9, pytest.approx(1 / 3), 0.0),
        (0.7, pytest.approx(1 / 3), 0.5),
        (0.4, pytest.approx(2 / 3), 1.0),  # both lesions of 0.4 come at once
    ]


def test_the_curve_is_a_stair_that_promises_nothing_between_points() -> None:
    curve = froc(TWO_CASES)
    assert curve is not None
    assert curve.sensitivity_at(0.125) == pytest.approx(1 / 3)
    assert curve.sensitivity_at(0.99) == pytest.approx(1 / 3)
    assert curve.sensitivity_at(1.0) == curve.sensitivity_at(8.0) == pytest.approx(2 / 3)
    only_false = froc([CaseLesions(reference=(lesion(1),), predicted=(lesion(1, 0.5),))])
    assert only_false is not None
    assert only_false.sensitivity_at(0.5) == 0.0


def test_without_lesions_there_is_no_curve() -> None:
    assert froc([]) is None
    assert froc([CaseLesions(predicted=(lesion(1, 0.5),))]) is None
    assert froc([CaseLesions(reference=(lesion(1),))]) is None
