"""What the pictures show: points where the numbers put them, colors where the labels are."""

from pathlib import Path

import numpy as np
import pytest

from flare_eval.boxplot import draw_boxes
from flare_eval.charts import Axis, Series, draw_chart
from flare_eval.pairing import Pair
from flare_eval.pictures import choose_examples, draw_examples, draw_memory, draw_tumor_sizes
from flare_eval.sampling import Curve
from flare_eval.scores import CaseScores
from flare_infer import labels
from flare_infer.picture import COLORS

RED = (200, 0, 0)


def scored(case: str, dsc: float, tumor_ml: float = 0.0) -> CaseScores:
    return CaseScores(case=case, dsc={labels.TUMOR: dsc}, reference_ml={labels.TUMOR: tumor_ml})


def test_a_point_lies_where_its_numbers_say() -> None:
    across, up = Axis(label="x", low=1, high=100, logarithmic=True), Axis(label="y", low=0.0, high=1.0)
    picture = np.array(draw_chart("t", across, up, [Series(name="s", points=[(10.0, 0.5)], color=RED)]))
    rows, columns = np.nonzero((picture == RED).all(axis=-1))
    # The frame runs from 90 to 960 and from 84 to 540; ten is halfway from 1 to 100.
    assert columns.mean() == pytest.approx((90 + 960) / 2, abs=1)
    assert rows.mean() == pytest.approx((84 + 540) / 2, abs=1)


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(label="", low=0.0, high=1.0), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Axis(label="", low=0.0, high=2900.0), [0.0, 1000.0, 2000.0]),
        (Axis(label="", low=0.1, high=100.0, logarithmic=True), [0.1, 1.0, 10.0, 100.0]),
    ],
)
def test_ticks_are_round_numbers(axis: Axis, ticks: list[float]) -> None:
    assert axis.ticks() == pytest.approx(ticks)


def test_cases_without_a_tumor_are_no_points() -> None:
    assert draw_tumor_sizes([scored("a", 1.0)]) is None
    assert draw_tumor_sizes([scored("a", 1.0), scored("b", 0.4, 3.0)]) is not None


def test_memory_over_time_draws_only_what_was_read() -> None:
    assert draw_memory("a", {"RAM": Curve(), "GPU": Curve()}) is None
    assert draw_memory("a", {"RAM": Curve(seconds=[0.0, 1.0], mb=[5.0, 9.0]), "GPU": Curve()}) is not None


def test_best_and_worst_cases_are_none_twice() -> None:
    cases = [scored(name, dsc) for name, dsc in zip("abcde", (0.5, 0.9, 0.1, 0.7, 0.3), strict=True)]
    missing = CaseScores(case="z", dsc={1: 0.0}, missing=True)
    pairs = {case.case: Pair(case=case.case, reference=Path(), prediction=Path(), annotated=(1,)) for case in cases}
    chosen = [(one.pair.case, one.why) for one in choose_examples([*cases, missing], pairs, {})]
    assert chosen == [("b", "best"), ("d", "best"), ("e", "worst"), ("c", "worst")]
    assert [one.pair.case for one in choose_examples(cases[:3], pairs, {})] == ["b", "a", "c"]


def test_reference_and_prediction_are_colored_and_what_is_not_annotated_is_not(draw, save) -> None:
    reference = save("references/a.nii.gz", draw("1... .... .... ...."))
    prediction = save("predictions/a.nii.gz", draw(".... .... .... .22."))
    pair = Pair(case="a", reference=reference, prediction=prediction, annotated=(1,))
    (example,) = choose_examples([CaseScores(case="a", dsc={1: 0.0})], {"a": pair}, {})
    picture = np.array(draw_examples([example]))
    liver, kidney = (np.array([value // 2 for value in COLORS[code]]) for code in (1, 2))
    near_liver = (np.abs(picture.astype(int) - liver) <= 1).all(axis=-1)
    assert near_liver.sum() == pytest.approx((320 / 4) ** 2, rel=0.05)  # one of 4 x 4 voxels, in one panel only
    columns = np.nonzero(near_liver)[1]
    assert 340 < columns.min() <= columns.max() < 664  # the middle panel
    assert not (np.abs(picture.astype(int) - kidney) <= 1).all(axis=-1).any()


def test_a_box_spans_the_quartiles_of_its_class() -> None:
    cases = [scored(str(number), dsc) for number, dsc in enumerate((0.0, 0.25, 0.5, 0.75, 1.0))]
    picture = draw_boxes(cases, "dsc")
    assert picture is not None
    columns = np.nonzero((np.array(picture) == COLORS[labels.TUMOR]).all(axis=-1))[1]
    at = [190 + quartile * (960 - 190) for quartile in (0.25, 0.75)]
    assert (columns.min(), columns.max()) == (pytest.approx(at[0], abs=2), pytest.approx(at[1], abs=2))
    assert draw_boxes(cases, "nsd") is None
