"""What the pictures show: points where the numbers put them, colors where the labels are."""

from pathlib import Path

import numpy as np
import pytest

from flare_eval.accuracy.pairing import PredictionPair
from flare_eval.accuracy.scores import CaseScores
from flare_eval.efficiency.curve import Curve
from flare_eval.reports.charts import chart_of_classes, chart_of_memory, chart_of_tumors, to_picture
from flare_eval.reports.pictures import Example, choose_examples, draw_examples
from flare_infer import labels
from flare_infer.formats.volume_io import write_volume
from flare_infer.results.picture import COLORS
from flare_infer.volume.volume import Placement, Volume


def scored(case: str, dsc: float, tumor_ml: float = 0.0) -> CaseScores:
    return CaseScores(case=case, dsc={labels.TUMOR: dsc}, reference_ml={labels.TUMOR: tumor_ml})


def test_a_tumor_is_a_point_at_its_volume_and_dsc() -> None:
    figure = chart_of_tumors([scored("a", 1.0), scored("b", 0.4, 3.0), scored("c", 0.0, 0.001)])
    assert figure is not None
    (axes,) = figure.axes
    (points,) = axes.collections
    assert points.get_offsets().tolist() == [
        [3.0, 0.4],
        [0.01, 0.0],
    ]  # without a tumor no point; a tiny one at the edge
    assert axes.get_xscale() == "log"
    assert axes.get_ylim() == (0.0, 1.0)
    assert chart_of_tumors([scored("a", 1.0)]) is None


@pytest.mark.parametrize(
    ("volumes", "ticks"),
    [
        ((12.4,), [10.0, 100.0]),
        ((12.4, 12.5), [10.0, 100.0]),
        ((10.0,), [1.0, 10.0, 100.0]),
        ((0.002, 700.0), [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]),
    ],
)
def test_the_axis_of_volumes_has_whole_decades_however_few_the_points(
    volumes: tuple[float, ...], ticks: list[float]
) -> None:
    figure = chart_of_tumors([scored(str(number), 0.5, volume) for number, volume in enumerate(volumes)])
    assert figure is not None
    to_picture(figure)
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    assert [value for value in axes.get_xticks() if low <= value <= high] == pytest.approx(ticks)
    shown = [label.get_text() for label in axes.get_xticklabels(which="both") if label.get_text()]
    assert {f"{value:g}" for value in ticks} <= set(shown)
    assert len(shown) <= len(axes.get_xticks())  # none between the decades


def test_memory_over_time_draws_what_was_read() -> None:
    assert chart_of_memory("a", {"RAM": Curve(), "GPU": Curve()}) is None
    figure = chart_of_memory("a", {"RAM": Curve(seconds=[0.0, 1.0], mb=[5.0, 9.0]), "GPU": Curve()})
    assert figure is not None
    (line,) = figure.axes[0].lines
    assert line.get_label() == "RAM"
    assert line.get_xydata().tolist() == [[0.0, 5.0], [1.0, 9.0]]


def test_a_chart_becomes_a_picture() -> None:
    figure = chart_of_tumors([scored("b", 0.4, 3.0)])
    assert figure is not None
    picture = np.array(to_picture(figure))
    assert picture.shape == (620, 1000, 3)
    assert (picture == COLORS[labels.TUMOR]).all(axis=-1).any()


def test_best_and_worst_cases_are_none_twice() -> None:
    cases = [scored(name, dsc) for name, dsc in zip("abcde", (0.5, 0.9, 0.1, 0.7, 0.3), strict=True)]
    missing = CaseScores(case="z", dsc={1: 0.0}, missing=True)
    pairs = {
        case.case: PredictionPair(case=case.case, reference=Path(), prediction=Path(), annotated=(1,)) for case in cases
    }
    chosen = [(one.pair.case, one.why) for one in choose_examples([*cases, missing], pairs, {})]
    assert chosen == [("b", "best"), ("d", "best"), ("e", "worst"), ("c", "worst")]
    assert [one.pair.case for one in choose_examples(cases[:3], pairs, {})] == ["b", "a", "c"]


def test_reference_and_prediction_are_colored_and_what_is_not_annotated_is_not(draw, save) -> None:
    reference = save("references/a.nii.gz", draw("1... .... .... ...."))
    prediction = save("predictions/a.nii.gz", draw(".... .... .... .22."))
    pair = PredictionPair(case="a", reference=reference, prediction=prediction, annotated=(1,))
    (example,) = choose_examples([CaseScores(case="a", dsc={1: 0.0})], {"a": pair}, {})
    figure, without_ct = draw_examples([example])
    assert without_ct == ["a"]
    ct, *panels = figure.subfigs[0].axes
    assert not ct.images
    of_reference, of_prediction = (axes.images[0].get_array() for axes in panels)
    assert of_reference[0, 0].tolist() == [value // 2 + 24 for value in COLORS[1]]
    gray = [48] * 3
    assert (of_reference.reshape(-1, 3)[1:] == gray).all()
    assert (of_prediction == gray).all(), "class 2 is not annotated"


def test_a_key_names_the_classes_that_are_drawn_and_no_other(draw, save) -> None:
    reference = save("references/a.nii.gz", draw("1... .... .... ...."))
    prediction = save("predictions/a.nii.gz", draw(".... .... .... .3.."))
    pair = PredictionPair(case="a", reference=reference, prediction=prediction, annotated=(1, 3, 5))
    (example,) = choose_examples([CaseScores(case="a", dsc={1: 0.0})], {"a": pair}, {})
    figure, _ = draw_examples([example])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [labels.NAMES[1], labels.NAMES[3]]
    picture = np.array(to_picture(figure))
    assert [code for code in labels.CODES if (picture == COLORS[code]).all(axis=-1).any()] == [1, 3]


def test_a_ct_is_drawn_with_rows_as_high_as_their_spacing_and_without_one_a_text_says_so(draw, tmp_path) -> None:
    axes = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    placement = Placement(spacing_mm=(2.0, 3.0, 1.0), origin_mm=(0.0, 0.0, 0.0), axes=axes)
    path = tmp_path / "a.nii.gz"
    write_volume(path, Volume(array_zyx=draw("1."), placement=placement))
    pair = PredictionPair(case="a", reference=path, prediction=path, annotated=(1,))
    with_ct, without = (Example(pair=pair, image=ct, dsc=1.0, why="best") for ct in (path, None))
    figure, alone = draw_examples([with_ct, without])
    assert alone == ["a"]
    shown, missing = (part.axes[0] for part in figure.subfigs)
    assert shown.images[0].get_array().shape == (1, 2, 3)
    assert shown.get_aspect() == 3.0
    assert [text.get_text() for text in missing.texts] == ["no CT on this grid"]


def test_a_box_spans_the_quartiles_of_its_class() -> None:
    cases = [scored(str(number), dsc) for number, dsc in enumerate((0.0, 0.25, 0.5, 0.75, 1.0))]
    figure = chart_of_classes(cases, "dsc")
    assert figure is not None
    (axes,) = figure.axes
    (box,) = axes.patches
    across = box.get_path().vertices[:, 0]
    assert (across.min(), across.max()) == (0.25, 0.75)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["tumor"]
    assert chart_of_classes(cases, "nsd") is None
