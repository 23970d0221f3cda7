"""Charts drawn with Pillow: points or lines over two axes, with a title and a key."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from flare_infer.errors import FlareError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw as Pen

Color: TypeAlias = tuple[int, int, int]

PAPER: Final[Color] = (255, 255, 255)
INK: Final[Color] = (32, 36, 42)
FAINT: Final[Color] = (132, 140, 150)
_GRID: Final[Color] = (228, 231, 235)
_SIZE: Final = (1000, 620)
_FRAME: Final = (90, 84, 960, 540)  # left, top, right, bottom of the plot
_TICKS: Final = 5
_DOT: Final = 6
_KEY_BOX: Final = 12


@dataclass(frozen=True, kw_only=True)
class Series:
    """What is drawn in one color.

    Attributes:
        name: stands in the key.
        points: (x, y) of each point.
        color: red, green, blue.
        joined: whether lines join the points, which are not drawn then.
    """

    name: str
    points: Sequence[tuple[float, float]]
    color: Color
    joined: bool = False


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis: its label, its range, and whether it is logarithmic (then both ends are positive)."""

    label: str
    low: float
    high: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, 0 at the low end, 1 at the high end."""
        low, high, at = (math.log(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return (at - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round numbers along the axis: powers of ten, or steps of 1, 2 or 5 times one."""
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**power for power in range(first, last + 1)]
        rough = (self.high - self.low) / _TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [count * step for count in range(first, math.floor(self.high / step + 1e-9) + 1)]


def draw_chart(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> "Picture":
    """Draw a chart of 1000 x 620 pixels.

    Raises:
        FlareError: if Pillow is not installed.
    """
    image, image_draw = pillow()
    canvas: Picture = image.new("RGB", _SIZE, PAPER)
    pen: Pen = image_draw.Draw(canvas)
    left, top, right, bottom = _FRAME
    pen.text((left, 20), title, INK, font=font(24))
    for value in x.ticks():
        at = left + x.place(value) * (right - left)
        pen.line([(at, top), (at, bottom)], fill=_GRID)
        pen.text((at, bottom + 8), f"{value:g}", FAINT, font=font(16), anchor="mt")
    for value in y.ticks():
        at = bottom - y.place(value) * (bottom - top)
        pen.line([(left, at), (right, at)], fill=_GRID)
        pen.text((left - 10, at), f"{value:g}", FAINT, font=font(16), anchor="rm")
    pen.text(((left + right) / 2, bottom + 40), x.label, INK, font=font(18), anchor="mt")
    pen.text((left, top - 6), y.label, INK, font=font(16), anchor="ls")
    for one in series:
        places = [
            (left + x.place(across) * (right - left), bottom - y.place(up) * (bottom - top))
            for across, up in one.points
        ]
        if one.joined and len(places) > 1:
            pen.line(places, fill=one.color, width=3)
            continue
        for across, up in places:
            pen.ellipse((across - _DOT, up - _DOT, across + _DOT, up + _DOT), fill=one.color, outline=PAPER)
    _draw_key(pen, series)
    return canvas


def _draw_key(pen: "Pen", series: Sequence[Series]) -> None:
    """Names and colors in the upper right corner; one series needs none."""
    if len(series) < 2:
        return
    at = _FRAME[2]
    for one in reversed(series):
        pen.text((at, _FRAME[1] - 6), one.name, INK, font=font(16), anchor="rs")
        at -= int(pen.textlength(one.name, font=font(16))) + 24
        pen.rectangle((at, _FRAME[1] - 6 - _KEY_BOX, at + _KEY_BOX, _FRAME[1] - 6), fill=one.color)
        at -= 20


def pillow() -> tuple[Any, Any]:
    """Pillow's Image and ImageDraw.

    Raises:
        FlareError: if Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise FlareError('a picture needs Pillow: pip install "flare-infer[picture]"') from error
    return Image, ImageDraw


def font(size: int) -> Any:
    """Pillow's own font."""
    from PIL import ImageFont

    return ImageFont.load_default(size=size)
