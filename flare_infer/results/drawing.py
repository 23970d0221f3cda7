"""Slices of a CT drawn beside the same slices with colored classes: the parts that pictures are put together from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Spacing, steps_apart
from flare_infer.results.filters import blurred, largest_piece, varies

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw as Pen

Color: TypeAlias = tuple[int, int, int]
Pixels: TypeAlias = npt.NDArray[Any]

WIDTH: Final = 1400
MARGIN: Final = 32
GAP: Final = 20
BACKGROUND: Final[Color] = (16, 18, 22)
INK: Final[Color] = (236, 238, 242)
FAINT: Final[Color] = (150, 156, 166)
_FILL: Final = 0.4
_OUTLINE: Final = 0.95
_KEY_COLUMNS: Final = 5
_KEY_ROW: Final = 32
_TOUCHED: Final = 5  # voxels that blur and interpolation reach together
_FINE: Final = 2  # slices are drawn this many times larger, then reduced: that smooths the outlines


@dataclass(frozen=True, kw_only=True)
class View:
    """One slice, cut to what is worth seeing.

    Attributes:
        caption: the line above it.
        gray: gray values, uint8; rows go down the picture.
        codes: label codes, uint8, of the same shape.
        height_mm: length of its columns, in mm.
        width_mm: length of its rows, in mm.
        sides: letters of the patient's sides at the left and at the right of the slice.
    """

    caption: str
    gray: Pixels
    codes: Pixels
    height_mm: float
    width_mm: float
    sides: tuple[str, str] = ("R", "L")


@dataclass(frozen=True, kw_only=True)
class KeyEntry:
    """A class in the key at the foot of a picture: its color, its name, and how much of it there is."""

    color: Color
    name: str
    amount: str


def lay_out(views: Sequence[View]) -> tuple[list[tuple[int, int]], int]:
    """Left edge and width of each column, and the height of a row, that fill the width of the picture.

    Views of common proportions get equal heights; one that is very flat or very tall lies in a cell of its own shape.
    """
    aspects = [min(max(view.width_mm / view.height_mm, 0.6), 1.6) for view in views]
    row = int((WIDTH - 2 * MARGIN - (len(views) - 1) * GAP) / sum(aspects))
    columns = []
    left = MARGIN
    for aspect in aspects:
        columns.append((left, int(row * aspect)))
        left += int(row * aspect) + GAP
    return columns, row


def body_box(image_zyx: Pixels, spacing_mm: Spacing) -> tuple[slice, slice]:
    """Rows and columns of the patient's body, with a rim; the table beneath is left out where it stands apart."""
    steps = steps_apart(spacing_mm, 4.0)
    coarse = image_zyx[:: steps[0], :: steps[1], :: steps[2]] > -250
    # Opened, so that clothes and the table, which touch the skin in a few voxels, come off.
    body = largest_piece(coarse, 2)
    if body is None:
        return slice(None), slice(None)
    cuts = []
    for axis in (1, 2):
        rim = steps[axis] + round(8.0 / spacing_mm[axis])
        cuts.append(slice(max(0, body[axis].start * steps[axis] - rim), body[axis].stop * steps[axis] + rim))
    return cuts[0], cuts[1]


def draw_view(view: View, scale: float, colors: Mapping[int, Color]) -> tuple["Picture", "Picture"]:
    """The slice in gray and the same slice in color.

    Args:
        view: the slice.
        scale: pixels per mm.
        colors: the color of every code that is drawn.
    """
    from PIL import Image

    size = (max(1, round(view.width_mm * scale)), max(1, round(view.height_mm * scale)))
    fine = (size[0] * _FINE, size[1] * _FINE)
    gray = Image.fromarray(view.gray).resize(fine, Image.Resampling.BICUBIC)
    codes = enlarge(view.codes, fine)
    # A line of three fine pixels inside each class: neighbors keep each their own outline.
    edge = varies(codes, 3)
    inside = codes > 0
    mixed = np.array(gray.convert("RGB"))
    mixed[inside] = _mixtures(colors)[codes[inside], edge[inside].view(np.uint8), np.asarray(gray)[inside]]
    colored = Image.fromarray(mixed)
    return gray.resize(size, Image.Resampling.BOX).convert("RGB"), colored.resize(size, Image.Resampling.BOX)


def _mixtures(colors: Mapping[int, Color]) -> npt.NDArray[np.uint8]:
    """What color becomes of each code, inside and on its outline, with each gray value under it."""
    table = np.zeros((max(colors) + 1, 1, 1, 3), dtype=np.float32)
    for code, color in colors.items():
        table[code] = color
    strength = np.array((_FILL, _OUTLINE), dtype=np.float32)[:, None, None]
    gray = np.arange(256, dtype=np.uint8)[:, None]
    return (gray * (1 - strength) + table * strength).round().astype(np.uint8)


def enlarge(codes: Pixels, size: tuple[int, int]) -> Pixels:
    """A slice of codes at another size (width, height), with smooth borders in place of stairs."""
    from PIL import Image

    enlarged = np.zeros((size[1], size[0]), dtype=np.uint8)
    strongest = np.full(enlarged.shape, -1.0, dtype=np.float32)
    scale_y, scale_x = (fine / coarse for fine, coarse in zip(enlarged.shape, codes.shape, strict=True))
    for code in np.unique(codes).tolist():
        # Blurred by half a voxel: enough to take off the stairs, too little to lose a structure one voxel wide.
        found = codes == code
        mask = blurred(found)
        # Farther away than the reach of blur and interpolation a class has no share.
        top, bottom = _reach(found.any(axis=1), scale_y, size[1])
        left, right = _reach(found.any(axis=0), scale_x, size[0])
        box = (left / scale_x, top / scale_y, right / scale_x, bottom / scale_y)
        part = Image.fromarray(mask).resize((right - left, bottom - top), Image.Resampling.BICUBIC, box=box)
        share, here = np.asarray(part), (slice(top, bottom), slice(left, right))
        enlarged[here][share > strongest[here]] = code
        strongest[here] = np.maximum(strongest[here], share)
    return enlarged


def _reach(present: npt.NDArray[np.bool_], scale: float, length: int) -> tuple[int, int]:
    """First fine pixel, and the one behind the last, that the voxels where something is present can touch."""
    found = np.flatnonzero(present)
    return max(0, int((found[0] - _TOUCHED) * scale)), min(length, int((found[-1] + _TOUCHED + 1) * scale) + 1)


def draw_panels(canvas: "Picture", pen: "Pen", views: Sequence[View], colors: Mapping[int, Color], top: int) -> int:
    """Draw the views in a row as they are, and in a row below with the classes in color.

    Args:
        canvas: the picture.
        pen: what draws on it.
        views: the slices, from left to right.
        colors: the color of every code that is drawn.
        top: the row of pixels where the captions begin.

    Returns:
        The row of pixels below the panels.
    """
    columns, row = lay_out(views)
    first, second = top + 30, top + 30 + row + GAP
    for view, (left, width) in zip(views, columns, strict=True):
        pen.text((left, top), view.caption, FAINT, font=font(16))
        plain, colored = draw_view(view, min(width / view.width_mm, row / view.height_mm), colors)
        for panel, upper in ((plain, first), (colored, second)):
            corner = (left + (width - panel.width) // 2, upper + (row - panel.height) // 2)
            canvas.paste(panel, corner)
            draw_sides(pen, corner, panel.size, view.sides)
    return second + row


def draw_sides(pen: "Pen", corner: tuple[int, int], size: tuple[int, int], sides: tuple[str, str]) -> None:
    """Letters of the patient's sides at the edges of a panel, with a dark rim that keeps them readable on bone."""
    middle = corner[1] + size[1] // 2
    places = ((corner[0] + 8, "lm"), (corner[0] + size[0] - 8, "rm"))
    for letter, (at, anchor) in zip(sides, places, strict=True):
        pen.text((at, middle), letter, INK, font=font(20), anchor=anchor, stroke_width=2, stroke_fill=BACKGROUND)


def key_height(entries: Sequence[KeyEntry]) -> int:
    """Pixels that the key takes."""
    return _KEY_ROW * max(1, -(-len(entries) // _KEY_COLUMNS))


def draw_key(pen: "Pen", entries: Sequence[KeyEntry], top: int) -> None:
    """The classes that are present, column by column: color, name and amount."""
    if not entries:
        pen.text((MARGIN, top), "no organ and no tumor found", FAINT, font=font(17))
        return
    rows = -(-len(entries) // _KEY_COLUMNS)
    edges = np.linspace(MARGIN, WIDTH - MARGIN + GAP, _KEY_COLUMNS + 1).round().astype(int).tolist()
    cells = [(left, right - GAP, top + _KEY_ROW * row) for left, right in pairwise(edges) for row in range(rows)]
    for (left, right, upper), entry in zip(cells, entries, strict=False):
        pen.rounded_rectangle((left, upper + 2, left + 16, upper + 18), radius=4, fill=entry.color)
        pen.text((left + 24, upper + 10), entry.name, INK, font=font(17), anchor="lm")
        pen.text((right, upper + 10), entry.amount, FAINT, font=font(17), anchor="rm")


@lru_cache
def font(size: int) -> Any:
    """Pillow's own font, in pixels; read once, which takes as long as to write some lines in it."""
    from PIL import ImageFont

    return ImageFont.load_default(size=size)
