"""A picture of a segmentation: CT slices beside the same slices with colored organs, and a key with volumes.

Everything here is drawn in the radiologist's view: the patient's right is on the left of the picture.
"""

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from flare_infer import labels
from flare_infer.errors import ImageError, MissingExtraError
from flare_infer.geometry import Spacing
from flare_infer.results.drawing import (
    BACKGROUND,
    GAP,
    INK,
    MARGIN,
    WIDTH,
    Color,
    KeyEntry,
    Pixels,
    View,
    body_box,
    draw_key,
    draw_panels,
    font,
    key_height,
    lay_out,
)
from flare_infer.results.organ_volumes import cut_by_edge, largest_parts, volume_text, volumes_ml

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

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

_LEVEL_HU: Final = 40.0
_WINDOW_HU: Final = 400.0
_APART_MM: Final = 20.0


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
    cut = cut_by_edge(codes_zyx)
    entries = [_key_entry(code, volume, code in cut) for code, volume in volumes.items()]
    top = MARGIN + (54 if title else 0)
    key = top + 30 + 2 * lay_out(views)[1] + GAP + 28
    canvas = Image.new("RGB", (WIDTH, key + key_height(entries) + MARGIN - 8), BACKGROUND)
    pen = ImageDraw.Draw(canvas)
    if title:
        pen.text((MARGIN, MARGIN - 6), title, INK, font=font(28))
    draw_panels(canvas, pen, views, COLORS, top)
    draw_key(pen, entries, key)
    return canvas


def _key_entry(code: int, volume_ml: float, cut: bool) -> KeyEntry:
    amount = volume_text(volume_ml, cut=cut, decimals=0 if volume_ml >= 100 else 1)
    return KeyEntry(color=COLORS[code], name=labels.NAMES[code], amount=f"{amount} mL")


def _choose_views(image_zyx: Pixels, codes_zyx: Pixels, spacing_mm: Spacing) -> tuple[View, ...]:
    """Two axial slices from the top down, then a coronal one."""
    depth, rows, _ = codes_zyx.shape
    parts_zyx, steps = largest_parts(codes_zyx, spacing_mm)
    per_z, per_y = _class_areas(parts_zyx)
    first = _fullest(per_z)
    # A second slice nearby would show the same again.
    far = np.abs(np.arange(len(per_z)) - first) * steps[0] * spacing_mm[0] >= _APART_MM
    second = _fullest(per_z, seen=per_z[first], allowed=far) if per_z[far].any() else len(per_z) // 3
    coronal = _fullest(per_y) * steps[1]

    in_y, in_x = body_box(image_zyx, spacing_mm)
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


def _view(caption: str, image: Pixels, codes: Pixels, spacing_mm: tuple[float, ...]) -> View:
    gray = soft_tissue(image)
    height, width = (size * step for size, step in zip(codes.shape, spacing_mm, strict=True))
    return View(caption=caption, gray=gray, codes=codes, height_mm=height, width_mm=width)


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
