"""Contact sheets: small pictures of what cleaning removed, and of tumor objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_infer.errors import MissingExtraError
from flare_infer.exports.color_table import colors_of
from flare_infer.label_set import FLARE23, LabelSet
from flare_infer.labels import BACKGROUND

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

PANEL: Final = 240
"""Pixels of the longer side of a panel."""

_GAP: Final = 8
_CAPTION: Final = 42
_PAPER: Final = (16, 18, 22)
_INK: Final = (236, 238, 242)
_FILL: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One entry of a sheet.

    Attributes:
        panels: pictures side by side, each (rows, columns, 3) of uint8.
        caption: text below them, of one or two lines.
    """

    panels: tuple[npt.NDArray[np.uint8], ...]
    caption: str


def draw_sheet(tiles: Sequence[Tile], columns: int) -> "Picture":
    """Arrange tiles row by row in one picture.

    Args:
        tiles: the entries, at least one, all with the same number of panels.
        columns: number of tiles in a row.

    Raises:
        MissingExtraError: if Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise MissingExtraError('a picture needs Pillow: pip install "flare-infer[train]"') from error
    font = ImageFont.load_default(size=13)
    columns = min(columns, len(tiles))
    width = len(tiles[0].panels) * (PANEL + 2) + _GAP
    height = PANEL + _CAPTION
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (_GAP + columns * width, _GAP + rows * height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, tile in enumerate(tiles):
        top, left = _GAP + number // columns * height, _GAP + number % columns * width
        for index, pixels in enumerate(tile.panels):
            panel = Image.fromarray(pixels)
            scale = PANEL / max(panel.size)
            size = (max(1, round(panel.width * scale)), max(1, round(panel.height * scale)))
            sheet.paste(panel.resize(size, Image.Resampling.NEAREST), (left + index * (PANEL + 2), top))
        pen.multiline_text((left, top + PANEL + 4), tile.caption, _INK, font=font, spacing=2)
    return sheet


def colored(
    gray_yx: npt.NDArray[np.uint8],
    codes_yx: npt.NDArray[np.uint8],
    spacing_mm: tuple[float, float],
    marked_yx: npt.NDArray[np.bool_] | None = None,
    label_set: LabelSet = FLARE23,
) -> npt.NDArray[np.uint8]:
    """A slice in gray with its classes tinted and lesions outlined, enlarged to square pixels.

    Args:
        gray_yx: gray values of the slice (rows, columns).
        codes_yx: codes (rows, columns); codes that are no class are not drawn.
        spacing_mm: spacing of rows and of columns.
        marked_yx: mask (rows, columns) of voxels that get a white frame; None for no frame.
        label_set: the classes.

    Returns:
        the picture (rows, columns, 3).
    """
    fine = max(1, PANEL // max(gray_yx.shape))
    rows = np.arange(max(1, round(gray_yx.shape[0] * fine * spacing_mm[0] / spacing_mm[1]))) * gray_yx.shape[0]
    columns = np.arange(gray_yx.shape[1] * fine) // fine
    take = np.ix_(rows // max(1, len(rows)), columns)
    codes = codes_yx[take]
    pixels: npt.NDArray[Any] = np.repeat(gray_yx[take][..., None], 3, axis=-1).astype(np.float32)
    for code, color in enumerate(colors_of(label_set.names)):
        inside = codes == code
        if code == BACKGROUND or not inside.any():
            continue
        strength = np.where(
            inside & ~ndimage.binary_erosion(inside), 1.0, 0.0 if code in label_set.lesion_codes else _FILL
        )
        strength = (strength * inside)[..., None]
        pixels = (1 - strength) * pixels + strength * np.asarray(color, dtype=np.float32)
    if marked_yx is not None and marked_yx.any():
        pixels[_outline(marked_yx[take])] = 255
    return pixels.astype(np.uint8)


def _outline(marked_yx: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Mask of a frame one pixel wide, three pixels outside the bounding box of the marked pixels."""
    (box,) = ndimage.find_objects(marked_yx.astype(np.uint8))
    frame = np.zeros_like(marked_yx)
    low = [max(0, part.start - 4) for part in box]
    high = [min(length, part.stop + 4) - 1 for part, length in zip(box, marked_yx.shape, strict=True)]
    frame[[low[0], high[0]], low[1] : high[1] + 1] = True
    frame[low[0] : high[0] + 1, [low[1], high[1]]] = True
    return frame
