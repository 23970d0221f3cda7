"""Box plots: how the scores of each class spread over cases."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from flare_eval.charts import FAINT, INK, PAPER, font, pillow
from flare_eval.scores import CaseScores
from flare_infer import labels
from flare_infer.picture import COLORS

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_WIDTH: Final = 1000
_ROW: Final = 36
_LEFT: Final = 190
_RIGHT: Final = 960
_TOP: Final = 90
_HALF: Final = 11


def draw_boxes(cases: Sequence[CaseScores], metric: str) -> "Picture | None":
    """A row for each class that was scored: quartiles as a box, median as a line, whiskers to the extremes.

    Args:
        cases: the scores.
        metric: "dsc" or "nsd".

    Returns:
        the picture, 1000 pixels wide; None without a score.

    Raises:
        FlareError: if Pillow is not installed.
    """
    scores = [getattr(case, metric) for case in cases]
    columns = {code: [values[code] for values in scores if code in values] for code in labels.CODES}
    known = {code: np.array(values) for code, values in columns.items() if values and not np.isnan(values).any()}
    if not known:
        return None
    image, image_draw = pillow()
    bottom = _TOP + _ROW * len(known)
    canvas: Picture = image.new("RGB", (_WIDTH, bottom + 40), PAPER)
    pen = image_draw.Draw(canvas)
    pen.text((24, 20), f"{metric.upper()} by class, {len(cases)} case(s)", INK, font=font(24))
    for tick in np.linspace(0, 1, 6):
        pen.line([(_at(tick), _TOP), (_at(tick), bottom)], fill=(228, 231, 235))
        pen.text((_at(tick), bottom + 8), f"{tick:.1f}", FAINT, font=font(16), anchor="mt")
    for row, (code, values) in enumerate(known.items()):
        middle = _TOP + _ROW * row + _ROW // 2
        pen.text((_LEFT - 12, middle), labels.NAMES[code], INK, font=font(16), anchor="rm")
        least, low, median, high, most = (_at(value) for value in np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
        pen.line([(least, middle), (most, middle)], fill=FAINT, width=2)
        pen.rectangle((low, middle - _HALF, high, middle + _HALF), fill=COLORS[code], outline=INK)
        pen.line([(median, middle - _HALF), (median, middle + _HALF)], fill=INK, width=3)
    return canvas


def _at(score: float) -> float:
    return float(_LEFT + score * (_RIGHT - _LEFT))
