"""A picture of a segmentation: CT slices beside the same slices with colored organs, and a key with volumes.

Everything here is drawn in the radiologist's view: the patient's right is on the left of the picture.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_infer import labels
from flare_infer.errors import ImageError, MissingExtraError
from flare_infer.geometry import Spacing, steps_apart
from flare_infer.results.organ_volumes import cut_by_edge, largest_parts, volume_text, volumes_ml

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw as Pen

Color: TypeAlias = tuple[int, int, int]
Pixels: TypeAlias = npt.NDArray[Any]

COLORS: Final[dict[int, Color]] = {
    labels.LIVER: (214, 124, 66),
    labels.RIGHT_KIDNEY: (250, 208, 60),
    labels.SPLEEN: (150, 92, 214),
    labels.PANCREAS: (0, 184, 160),
    labels.AORTA: (236, 42, 48),
    labels.INFERIOR_VENA_CAVA: (58, 106, 255),
    labels.RIGHT_ADRENAL_GLAND: (255, 168, 190),
    labels.LEFT_ADRENAL_GLAND: (204, 66, 126),
    labels.GALLBLADDER: (38, 142, 50),
    labels.ESOPHAGUS: (176, 188, 255),
    labels.STOMACH: (74, 190, 250),
    labels.DUODENUM: (164, 250, 170),
    labels.LEFT_KIDNEY: (168, 196, 20),
    labels.TUMOR: (255, 50, 236),
}
"""The color (red, green, blue) of each class: fixed, so that pictures of different cases compare."""

_WIDTH: Final = 1400
_MARGIN: Final = 32
_GAP: Final = 20
_BACKGROUND: Final[Color] = (16, 18, 22)
_INK: Final[Color] = (236, 238, 242)
_FAINT: Final[Color] = (150, 156, 166)
_LEVEL_HU: Final = 40.0
_WINDOW_HU: Final = 400.0
_FILL: Final = 0.4
_APART_MM: Final = 20.0
_FINE: Final = 2  # slices are drawn this many times larger, then reduced: that smooths the outlines
_KEY_COLUMNS: Final = 5
_KEY_ROW: Final = 32


@dataclass(frozen=True, kw_only=True)
class _View:
    """One slice, cut to what is worth seeing: rows go down the picture, columns to the patient's left."""

    caption: str
    gray: Pixels
    codes: Pixels
    height_mm: float
    width_mm: float


def overlay(image_zyx: Pixels, labels_zyx: Pixels, spacing_mm: Spacing, title: str = "") -> "Picture":
    """Draw two axial slices and a coronal one: above as they are, below with the classes in color; a key at the foot.

    The slices are chosen so that most classes show, each by its largest connected part. They are drawn true to their
    proportions in mm, in a soft-tissue window (level 40, width 400). The patient's right is on the left; anterior, or
    superior in the coronal slice, is up. In the key, a class that the scan cuts has a least volume.

    Args:
        image_zyx: the CT in Hounsfield units, its axes toward superior, posterior and left.
        labels_zyx: label codes of an integer type, of the same shape; unknown codes are drawn as background.
        spacing_mm: distance between voxel centers along (z, y, x), in mm.
        title: the line above the slices; none if empty.

    Returns:
        An RGB picture, 1400 pixels wide; its height follows the slices.

    Raises:
        MissingExtraError: if Pillow is not installed.
        ImageError: if the arrays are not three-dimensional, are empty or differ in shape, or labels are no integers.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise MissingExtraError('a picture needs Pillow: pip install "flare-infer[picture]"') from error
    if image_zyx.ndim != 3 or image_zyx.size == 0 or image_zyx.shape != labels_zyx.shape:
        raise ImageError(f"expected a CT and its label map, found shapes {image_zyx.shape} and {labels_zyx.shape}")

    volumes = {code: volume for code, volume in volumes_ml(labels_zyx, spacing_mm).items() if volume > 0}
    codes_zyx = np.where(labels_zyx < len(labels.NAMES), labels_zyx, labels.BACKGROUND).astype(np.uint8)
    views = _choose_views(image_zyx, codes_zyx, spacing_mm)
    columns, row = _lay_out(views)

    top = _MARGIN + (54 if title else 0)
    first, second = top + 30, top + 30 + row + _GAP
    key = second + row + 28
    height = key + _KEY_ROW * max(1, -(-len(volumes) // _KEY_COLUMNS)) + _MARGIN - 8
    canvas = Image.new("RGB", (_WIDTH, height), _BACKGROUND)
    pen = ImageDraw.Draw(canvas)
    if title:
        pen.text((_MARGIN, _MARGIN - 6), title, _INK, font=_font(28))
    for view, (left, width) in zip(views, columns, strict=True):
        pen.text((left, top), view.caption, _FAINT, font=_font(16))
        plain, colored = _draw_view(view, min(width / view.width_mm, row / view.height_mm))
        for panel, upper in ((plain, first), (colored, second)):
            corner = (left + (width - panel.width) // 2, upper + (row - panel.height) // 2)
            canvas.paste(panel, corner)
            _draw_sides(pen, corner, panel.size)
    _draw_key(pen, volumes, cut_by_edge(codes_zyx), key)
    return canvas


def _lay_out(views: tuple[_View, ...]) -> tuple[list[tuple[int, int]], int]:
    """Left edge and width of each column, and the height of a row, that fill the width of the picture.

    Box of common proportions get equal heights; one that is very flat or very tall lies in a cell of its own shape.
    """
    aspects = [min(max(view.width_mm / view.height_mm, 0.6), 1.6) for view in views]
    row = int((_WIDTH - 2 * _MARGIN - (len(views) - 1) * _GAP) / sum(aspects))
    columns = []
    left = _MARGIN
    for aspect in aspects:
        columns.append((left, int(row * aspect)))
        left += int(row * aspect) + _GAP
    return columns, row


def _choose_views(image_zyx: Pixels, codes_zyx: Pixels, spacing_mm: Spacing) -> tuple[_View, ...]:
    """Two axial slices from the top down, then a coronal one."""
    depth, rows, _ = codes_zyx.shape
    parts_zyx, steps = largest_parts(codes_zyx, spacing_mm)
    per_z, per_y = _class_areas(parts_zyx)
    first = _fullest(per_z)
    # A second slice nearby would show the same again.
    far = np.abs(np.arange(len(per_z)) - first) * steps[0] * spacing_mm[0] >= _APART_MM
    second = _fullest(per_z, seen=per_z[first], allowed=far) if per_z[far].any() else len(per_z) // 3
    coronal = _fullest(per_y) * steps[1]

    in_y, in_x = _body_box(image_zyx, spacing_mm)
    labeled = np.flatnonzero(per_z.any(axis=1)) * steps[0]
    beyond = round(40.0 / spacing_mm[0])
    in_z = slice(max(0, int(labeled[0]) - beyond), int(labeled[-1]) + beyond + 1) if labeled.size else slice(None)

    views = []
    for z in sorted((first * steps[0], second * steps[0]), reverse=True):
        caption = f"axial, slice {z + 1} of {depth}"
        views.append(_view(caption, image_zyx[z, in_y, in_x], codes_zyx[z, in_y, in_x], spacing_mm[1:]))
    # The first slice of the array is the lowest of the patient: turned over, superior is up.
    gray, codes = image_zyx[in_z, coronal, in_x][::-1], codes_zyx[in_z, coronal, in_x][::-1]
    views.append(_view(f"coronal, slice {coronal + 1} of {rows}", gray, codes, spacing_mm[::2]))
    return tuple(views)


def soft_tissue(image: Pixels) -> npt.NDArray[np.uint8]:
    """Hounsfield units of any shape as gray values in a soft-tissue window (level 40, width 400)."""
    low = _LEVEL_HU - _WINDOW_HU / 2
    gray: npt.NDArray[np.uint8] = np.clip((image.astype(np.float32) - low) / _WINDOW_HU * 255.0, 0, 255).astype(
        np.uint8
    )
    return gray


def _view(caption: str, image: Pixels, codes: Pixels, spacing_mm: tuple[float, ...]) -> _View:
    gray = soft_tissue(image)
    height, width = (size * step for size, step in zip(codes.shape, spacing_mm, strict=True))
    return _View(caption=caption, gray=gray, codes=codes, height_mm=height, width_mm=width)


def _class_areas(codes_zyx: Pixels) -> tuple[Pixels, Pixels]:
    """Per axial slice (rows of the first) and coronal slice (of the second), the area of each code of `labels.CODES`.

    Areas are fractions of the largest that the class has in any such slice.
    """
    depth, rows, _ = codes_zyx.shape
    count = len(labels.NAMES)
    per_z = np.zeros((depth, count))
    per_y = np.zeros((rows, count))
    offsets = np.arange(rows)[:, None] * count
    for z, codes_yx in enumerate(codes_zyx):
        table = np.bincount((codes_yx + offsets).ravel(), minlength=rows * count).reshape(rows, count)
        per_z[z] = table.sum(axis=0)
        per_y += table
    known = list(labels.CODES)
    per_z, per_y = per_z[:, known], per_y[:, known]
    return per_z / np.maximum(per_z.max(axis=0), 1), per_y / np.maximum(per_y.max(axis=0), 1)


def _fullest(areas: Pixels, seen: Pixels | None = None, allowed: Pixels | None = None) -> int:
    """The slice that shows most of the classes; what another slice has `seen` of them counts a quarter."""
    # A class counts fully from a third of its largest section on; a tumor is worth looking for.
    weight = np.array([3.0 if code == labels.TUMOR else 1.0 for code in labels.CODES])
    shown = np.minimum(areas, 1 / 3)
    known = np.zeros_like(shown) if seen is None else np.minimum(shown, seen)
    score = (shown - 0.75 * known) @ weight + 1e-3 * areas.sum(axis=1)
    if not score.any():
        return len(areas) // 2
    return int(np.argmax(score if allowed is None else np.where(allowed, score, -1)))


def _body_box(image_zyx: Pixels, spacing_mm: Spacing) -> tuple[slice, slice]:
    """Rows and columns of the patient's body, with a rim; the table beneath is left out where it stands apart."""
    steps = steps_apart(spacing_mm, 4.0)
    coarse = image_zyx[:: steps[0], :: steps[1], :: steps[2]] > -250
    # Opened, so that clothes and the table, which touch the skin in a few voxels, come off.
    parts, count = ndimage.label(ndimage.binary_opening(coarse, iterations=2))
    if count == 0:
        return slice(None), slice(None)
    body = ndimage.find_objects(parts)[int(np.argmax(np.bincount(parts.ravel())[1:]))]
    cuts = []
    for axis in (1, 2):
        rim = steps[axis] + round(8.0 / spacing_mm[axis])
        cuts.append(slice(max(0, body[axis].start * steps[axis] - rim), body[axis].stop * steps[axis] + rim))
    return cuts[0], cuts[1]


def _draw_view(view: _View, scale: float) -> tuple["Picture", "Picture"]:
    """The slice in gray and the same slice in color, in pixels of `scale` per mm."""
    from PIL import Image

    size = (max(1, round(view.width_mm * scale)), max(1, round(view.height_mm * scale)))
    fine = (size[0] * _FINE, size[1] * _FINE)
    gray = Image.fromarray(view.gray).resize(fine, Image.Resampling.BICUBIC).convert("RGB")
    codes = _enlarge(view.codes, fine)
    table = np.array([(0, 0, 0), *(COLORS[code] for code in labels.CODES)], dtype=np.float32)
    # A line of three fine pixels inside each class: neighbors keep each their own outline.
    edge = ndimage.maximum_filter(codes, 7) != ndimage.minimum_filter(codes, 7)
    strength = np.where(edge, 0.95, _FILL)[..., None] * (codes > 0)[..., None]
    mixed = np.asarray(gray, dtype=np.float32) * (1 - strength) + table[codes] * strength
    colored = Image.fromarray(mixed.round().astype(np.uint8))
    return gray.resize(size, Image.Resampling.BOX), colored.resize(size, Image.Resampling.BOX)


def _enlarge(codes: Pixels, size: tuple[int, int]) -> Pixels:
    """A slice of codes at another size (width, height), with smooth borders in place of stairs."""
    from PIL import Image

    enlarged = np.zeros((size[1], size[0]), dtype=np.uint8)
    strongest = np.full(enlarged.shape, -1.0, dtype=np.float32)
    for code in np.unique(codes).tolist():
        # Blurred by half a voxel: enough to take off the stairs, too little to lose a structure one voxel wide.
        mask = ndimage.gaussian_filter((codes == code).astype(np.float32), 0.5)
        share = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BICUBIC))
        enlarged[share > strongest] = code
        strongest = np.maximum(strongest, share)
    return enlarged


def _draw_sides(pen: "Pen", corner: tuple[int, int], size: tuple[int, int]) -> None:
    """R and L at the sides of a panel, with a dark rim that keeps them readable on bone."""
    middle = corner[1] + size[1] // 2
    for letter, at, anchor in (("R", corner[0] + 8, "lm"), ("L", corner[0] + size[0] - 8, "rm")):
        pen.text((at, middle), letter, _INK, font=_font(20), anchor=anchor, stroke_width=2, stroke_fill=_BACKGROUND)


def _draw_key(pen: "Pen", volumes: dict[int, float], cut: frozenset[int], top: int) -> None:
    """The classes that are present, column by column: color, name and volume, at least so much where they are cut."""
    if not volumes:
        pen.text((_MARGIN, top), "no organ and no tumor found", _FAINT, font=_font(17))
        return
    rows = -(-len(volumes) // _KEY_COLUMNS)
    edges = np.linspace(_MARGIN, _WIDTH - _MARGIN + _GAP, _KEY_COLUMNS + 1).round().astype(int).tolist()
    cells = [(left, right - _GAP, top + _KEY_ROW * row) for left, right in pairwise(edges) for row in range(rows)]
    for (left, right, upper), (code, volume) in zip(cells, volumes.items(), strict=False):
        pen.rounded_rectangle((left, upper + 2, left + 16, upper + 18), radius=4, fill=COLORS[code])
        pen.text((left + 24, upper + 10), labels.NAMES[code], _INK, font=_font(17), anchor="lm")
        amount = volume_text(volume, cut=code in cut, decimals=0 if volume >= 100 else 1)
        pen.text((right, upper + 10), f"{amount} mL", _FAINT, font=_font(17), anchor="rm")


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)
