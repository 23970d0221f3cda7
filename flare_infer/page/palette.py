"""The color of every class of any model."""

import colorsys
from collections.abc import Sequence
from typing import Final

from flare_infer import labels
from flare_infer.results.drawing import Color
from flare_infer.results.picture import COLORS

_KNOWN: Final = {labels.NAMES[code]: color for code, color in COLORS.items()}
_GOLDEN: Final = 0.618034


def class_colors(names: Sequence[str]) -> dict[int, Color]:
    """A color for every class: that of the organ by its name, so that cases of different models compare.

    Args:
        names: name of every code, background first.

    Returns:
        Code to (red, green, blue), background left out. Names that are not known get hues far from each other.
    """
    return {code: _KNOWN.get(name) or _invented(code) for code, name in enumerate(names) if code}


def _invented(code: int) -> Color:
    lightness = (0.62, 0.5, 0.74)[code % 3]
    red, green, blue = colorsys.hls_to_rgb(code * _GOLDEN % 1.0, lightness, 0.7)
    return round(red * 255), round(green * 255), round(blue * 255)
