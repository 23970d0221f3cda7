"""One picture of a case: three planes as they are and with the classes in color, a key with volumes, and the flags.

Everything is drawn in the radiologist's view: the patient's right is on the left of axial and coronal planes, and
anterior is on the left of the sagittal one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.errors import MissingExtraError
from flare_infer.exports.color_table import colors_of
from flare_infer.files.write_whole import whole_file
from flare_infer.geometry import Shape, Spacing
from flare_infer.page.upright import Upright, point_of_interest, upright
from flare_infer.results.case import CaseStatistics, SegmentedCase
from flare_infer.results.drawing import (
    BACKGROUND,
    FAINT,
    GAP,
    INK,
    MARGIN,
    WIDTH,
    Color,
    KeyEntry,
    View,
    body_box,
    draw_key,
    draw_panels,
    font,
    key_height,
    lay_out,
)
from flare_infer.results.organ_volumes import volume_text

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw as Pen

NO_DEVICE: Final = "Research software, not a medical device."

_BEYOND_MM: Final = 40.0
_LINE: Final = 26
_MOST_LINES: Final = 12
_SEEN: Final = (0.5, 99.5)
_SOFT_TISSUE_HU: Final = (-160.0, 240.0)
_WARNING: Final[Color] = (255, 196, 92)
_COMPRESSION: Final = 2  # of PNG: hardly larger than with 4, and quicker by a third


def write_preview(
    path: Path, case: SegmentedCase, statistics: CaseStatistics, picture: "Picture | None" = None
) -> None:
    """Write the picture of a case as PNG.

    Args:
        path: the file.
        case: the scan and its labels.
        statistics: what was measured of it.
        picture: what `draw_preview` drew of it; drawn here if None.

    Raises:
        MissingExtraError: if Pillow is not installed.
        NotWrittenError: if the file cannot be written.
    """
    picture = picture or draw_preview(case, statistics)
    with whole_file(path, ".png") as part:
        picture.save(part, format="PNG", compress_level=_COMPRESSION)


def draw_preview(case: SegmentedCase, statistics: CaseStatistics) -> "Picture":
    """Draw the picture of a case, 1400 pixels wide.

    Args:
        case: the scan and its labels.
        statistics: what was measured of it.

    Raises:
        MissingExtraError: if Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise MissingExtraError('a picture needs Pillow: pip install "flare-infer[picture]"') from error
    colors = dict(enumerate(colors_of(case.names)))
    turned = upright(case)
    point = point_of_interest(turned.codes_zyx, turned.placement.spacing_mm, case.names, case.own_lesions)
    views = _views(turned, point, case)
    entries = _entries(statistics, colors)
    lines = _lines(statistics)
    top = MARGIN + 54
    key = top + 30 + 2 * lay_out(views)[1] + GAP + 28
    below = key + key_height(entries) + 12
    canvas = Image.new("RGB", (WIDTH, below + _LINE * len(lines) + MARGIN), BACKGROUND)
    pen = ImageDraw.Draw(canvas)
    pen.text((MARGIN, MARGIN - 6), _fitting(pen, statistics.name, 28), INK, font=font(28))
    draw_panels(canvas, pen, views, colors, top)
    draw_key(pen, entries, key)
    for number, (line, color) in enumerate(lines):
        pen.text((MARGIN, below + _LINE * number), _fitting(pen, line, 17), color, font=font(17))
    return canvas


def _entries(statistics: CaseStatistics, colors: Mapping[int, Color]) -> list[KeyEntry]:
    return [
        KeyEntry(
            color=colors[found.code],
            name=found.name,
            amount=f"{volume_text(found.volume_ml, cut=found.cut, decimals=0 if found.volume_ml >= 100 else 1)} mL",
        )
        for found in statistics.classes
        if found.volume_ml > 0
    ]


def _lines(statistics: CaseStatistics) -> list[tuple[str, Color]]:
    lines = [(f"{flag.kind}: {flag.reason}", _WARNING) for flag in statistics.flags]
    if statistics.lesions:
        largest = statistics.lesions[0]
        host = f" ({largest.organ})" if largest.organ else ""
        count = f"{len(statistics.lesions)} lesions, the largest" if len(statistics.lesions) > 1 else "1 lesion,"
        size = f"{largest.longest_axial_mm:.0f} x {largest.perpendicular_mm:.0f} mm"
        lines.insert(0, (f"{count} {size}{host}", INK))
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 1], (f"and {len(lines) - _MOST_LINES + 1} more", _WARNING)]
    return [*lines, (NO_DEVICE, FAINT)]


def _fitting(pen: "Pen", line: str, size: int) -> str:
    """A line as long as the picture is wide; the end of a longer one is left out."""
    line = line.replace("\n", " ")
    if pen.textlength(line, font=font(size)) <= WIDTH - 2 * MARGIN:
        return line
    while line and pen.textlength(f"{line}...", font=font(size)) > WIDTH - 2 * MARGIN:
        line = line[: min(len(line) - 1, 400)]
    return f"{line}..."


def _views(turned: Upright, point: Shape, case: SegmentedCase) -> tuple[View, View, View]:
    """The axial, coronal and sagittal plane through a point, cut to the body and what lies around the classes."""
    image, codes, spacing = turned.image_zyx, turned.codes_zyx, turned.placement.spacing_mm
    z, y, x = point
    in_y, in_x = body_box(image, spacing) if case.in_hounsfield else (slice(None), slice(None))
    in_z = _labeled(codes, spacing)
    window = _SOFT_TISSUE_HU if case.in_hounsfield else _range(image)

    def view(name: str, axis: int, cut: tuple[Any, ...], sides: tuple[str, str] = ("R", "L")) -> View:
        # The first slice of the array is the lowest of the patient: turned over, superior is up.
        upward = slice(None) if axis == 0 else slice(None, None, -1)
        height, width = (mm for other, mm in enumerate(spacing) if other != axis)
        plane, classes = image[cut][upward], codes[cut][upward]
        return View(
            caption=f"{name}, slice {point[axis] + 1} of {image.shape[axis]}",
            gray=_gray(plane, *window),
            codes=np.where(classes < len(case.names), classes, 0).astype(np.uint8),
            height_mm=height * plane.shape[0],
            width_mm=width * plane.shape[1],
            sides=sides,
        )

    return (
        view("axial", 0, (z, in_y, in_x)),
        view("coronal", 1, (in_z, y, in_x)),
        view("sagittal", 2, (in_z, in_y, x), ("A", "P")),
    )


def _labeled(codes_zyx: npt.NDArray[np.uint8], spacing_mm: Spacing) -> slice:
    """The slices with classes, and some beyond; all if there is none."""
    few = codes_zyx[:, ::2, ::2]
    labeled = np.flatnonzero([plane.any() for plane in few])
    if not labeled.size:
        return slice(None)
    beyond = round(_BEYOND_MM / spacing_mm[0])
    return slice(max(0, int(labeled[0]) - beyond), int(labeled[-1]) + beyond + 1)


def _range(image_zyx: npt.NDArray[Any]) -> tuple[float, float]:
    few = image_zyx[tuple(slice(None, None, -(-size // 64)) for size in image_zyx.shape)]
    low, high = np.percentile(np.nan_to_num(few), _SEEN).tolist()
    return low, high


def _gray(plane: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    share = (np.nan_to_num(plane, nan=low).astype(np.float32) - low) / (high - low or 1.0)
    gray: npt.NDArray[np.uint8] = (np.clip(share, 0, 1) * 255).astype(np.uint8)
    return gray
