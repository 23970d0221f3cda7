"""DSC on masks small enough to count."""

import numpy as np
import pytest

from flare_eval.accuracy.dice import dice_of_masks
from flare_infer import labels
from flare_infer.errors import ImageError


def dice(prediction: np.ndarray, reference: np.ndarray, code: int) -> float:
    return dice_of_masks(prediction == code, reference == code)


def test_identical_masks_score_one(draw) -> None:
    assert dice(draw("11. ..."), draw("11. ..."), 1) == 1.0


def test_two_empty_masks_have_none(draw) -> None:
    assert np.isnan(dice(draw("22. ..."), draw("..2 ..."), 1))


def test_exactly_one_without_the_class_scores_zero(draw) -> None:
    assert dice(draw("1.. ..."), draw("... ..."), 1) == 0.0
    assert dice(draw("... ..."), draw("1.. ..."), 1) == 0.0


def test_disjoint_masks_score_zero(draw) -> None:
    assert dice(draw("1.. ..."), draw("..1 ..."), 1) == 0.0


def test_half_overlap_scores_a_half(draw) -> None:
    assert dice(draw("11. ..."), draw(".11 ..."), 1) == 0.5


def test_unequal_sizes(draw) -> None:
    # 1 voxel within 3: 2 * 1 / (1 + 3)
    assert dice(draw("1.. ..."), draw("111 ..."), 1) == 0.5
    # 3 within 5: 6 / 8
    assert dice(draw("111 ..."), draw("111 11."), 1) == 0.75


def test_all_classes_at_once_confuse_no_pair(draw) -> None:
    prediction = draw("1122 TT.. 3333")
    reference = draw("1112 .TTT 3333")
    scores = {code: dice(prediction, reference, code) for code in labels.CODES}
    assert scores[1] == pytest.approx(4 / 5)
    assert scores[2] == pytest.approx(2 / 3)
    assert scores[3] == 1.0
    assert scores[14] == pytest.approx(2 / 5)
    assert np.isnan([scores[code] for code in (4, 5, 6, 7, 8, 9, 10, 11, 12, 13)]).all()


def test_slices_add_up(draw) -> None:
    prediction = np.concatenate([draw("11"), draw(".."), draw("1.")])
    reference = np.concatenate([draw("11"), draw("11"), draw("..")])
    assert dice(prediction, reference, 1) == pytest.approx(2 * 2 / (3 + 4))


def test_agrees_with_the_plain_loop_on_random_maps() -> None:
    rng = np.random.default_rng(0)
    prediction, reference = rng.integers(0, 15, size=(2, 4, 7, 9), dtype=np.int16)
    scores = {code: dice(prediction, reference, code) for code in labels.CODES}
    for code in labels.CODES:
        p, r = prediction == code, reference == code
        assert scores[code] == pytest.approx(2 * np.sum(p & r) / (p.sum() + r.sum()))


def test_different_shapes_are_refused(draw) -> None:
    with pytest.raises(ImageError, match="equal shapes"):
        dice(draw("11"), draw("11 .."), 1)
