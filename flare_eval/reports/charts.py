"""The charts of a report, drawn by matplotlib: DSC against tumor volume, boxes of classes, memory over time."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from flare_eval.accuracy.scores import CaseScores
from flare_eval.efficiency.curve import Curve
from flare_infer.errors import MissingExtraError
from flare_infer.exports.color_table import colors_of
from flare_infer.label_set import FLARE23, LabelSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image as Picture

_LEAST_ML: Final = 0.01
"""A tumor smaller than this is drawn at the left edge of the logarithmic axis."""


def chart_of_tumors(cases: Sequence[CaseScores], label_set: LabelSet = FLARE23) -> "Figure | None":
    """DSC of tumor against its volume in the reference, on a logarithmic axis; None where no case has a tumor.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    points = [
        (max(case.reference_ml[code], _LEAST_ML), case.dsc[code])
        for case in cases
        for code in label_set.lesion_codes
        if code in case.dsc and case.reference_ml.get(code, 0.0) > 0
    ]
    if not points:
        return None
    figure, axes = _new_chart(
        f"{_what(label_set)}: DSC against volume, {len(points)} case(s)", "volume in the reference (mL)", "DSC"
    )
    # Points at 0 and at 1 are whole, not cut by the frame.
    axes.scatter(
        *zip(*points, strict=True), color=_web_color(label_set.lesion_codes[0], label_set), clip_on=False, zorder=3
    )
    axes.set_xscale("log")
    # Whole decades: two or more labeled ticks, however few and near the points are.
    axes.set_xlim(*_decades([volume_ml for volume_ml, _ in points]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_ylim(0.0, 1.0)
    return figure


def chart_of_classes(cases: Sequence[CaseScores], metric: str, label_set: LabelSet = FLARE23) -> "Figure | None":
    """A row for each class that was scored: quartiles as a box, median as a line, whiskers to the extremes.

    Args:
        cases: scores of the cases.
        metric: the metric to draw, "dsc" or "nsd".
        label_set: the classes.

    Returns:
        the chart; None without a score. A class with a NaN, which official mode can give, has no row.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    scores = [getattr(case, metric) for case in cases]
    columns = {code: [values[code] for values in scores if code in values] for code in label_set.codes}
    known = {code: values for code, values in columns.items() if values and not np.isnan(values).any()}
    if not known:
        return None
    figure, axes = _new_chart(f"{metric.upper()} by class, {len(cases)} case(s)", metric.upper(), "")
    names = [label_set.names[code] for code in known]
    boxes = axes.boxplot(
        list(known.values()), tick_labels=names, whis=(0, 100), orientation="horizontal", patch_artist=True
    )
    for code, box, median in zip(known, boxes["boxes"], boxes["medians"], strict=True):
        box.set_facecolor(_web_color(code, label_set))
        median.set_color("black")
    axes.set_xlim(0.0, 1.0)
    axes.invert_yaxis()
    return figure


def chart_of_memory(case: str, curves: Mapping[str, Curve]) -> "Figure | None":
    """Memory over time of one case, a line for each memory that was read; None without a sample.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    known = {name: curve for name, curve in curves.items() if curve.mb}
    if not known:
        return None
    figure, axes = _new_chart(f"{case}: memory over time", "seconds from the start", "MB")
    for name, curve in known.items():
        axes.plot(curve.seconds, curve.mb, label=name)
    axes.set_ylim(bottom=0.0)
    axes.legend()
    return figure


def to_picture(figure: "Figure") -> "Picture":
    """A figure as an RGB picture.

    Raises:
        MissingExtraError: if Pillow is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from PIL import Image
    except ImportError as error:
        raise _missing_extra() from error
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of a size in hundreds of pixels.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise _missing_extra() from error
    # A figure of its own: pyplot would keep every figure, and look for a screen.
    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def add_key(figure: "Figure", codes: Sequence[int], columns: int, label_set: LabelSet = FLARE23) -> None:
    """Name the colors of some classes below a figure."""
    from matplotlib.patches import Patch

    patches = [Patch(color=_web_color(code, label_set), label=label_set.names[code]) for code in codes]
    figure.legend(handles=patches, loc="outside lower center", ncols=columns)


def _new_chart(title: str, x_label: str, y_label: str) -> "tuple[Figure, Axes]":
    figure = new_figure(10.0, 6.2)
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_axisbelow(True)
    axes.grid(color="0.9")
    return figure, axes


def _decades(volumes_ml: Sequence[float]) -> tuple[float, float]:
    """The nearest powers of ten below and above all volumes, so that no volume lies on the edge of the axis."""
    below, above = 0.9 * min(volumes_ml), 1.1 * max(volumes_ml)
    return 10.0 ** math.floor(math.log10(below)), 10.0 ** math.ceil(math.log10(above))


def _missing_extra() -> MissingExtraError:
    return MissingExtraError('charts need matplotlib and Pillow: pip install "flare-infer[picture]"')


def _what(label_set: LabelSet) -> str:
    return "Tumor" if label_set.is_challenge else "Lesions"


def _web_color(code: int, label_set: LabelSet) -> str:
    red, green, blue = colors_of(label_set.names)[code]
    return f"#{red:02x}{green:02x}{blue:02x}"
