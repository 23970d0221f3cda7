"""The best and the worst cases of a report, as CT, reference and prediction side by side."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from flare_eval.label_map import read_label_map
from flare_eval.pairing import Pair
from flare_eval.scores import CaseScores
from flare_infer import labels
from flare_infer.errors import FlareError
from flare_infer.geometry import Spacing
from flare_infer.orient import to_lps
from flare_infer.picture import COLORS, soft_tissue
from flare_infer.volume import Volume
from flare_infer.volume_io import read_volume

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_PAPER: Final = (255, 255, 255)
_INK: Final = (32, 36, 42)
_FAINT: Final = (132, 140, 150)
_PANEL: Final = 320
_GAP: Final = 12
_FILL: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Example:
    """One case for `draw_examples`: its files, what it scored, and why it is shown ("best" or "worst")."""

    pair: Pair
    image: Path | None
    dsc: float
    why: str


def choose_examples(
    cases: Sequence[CaseScores], pairs: Mapping[str, Pair], images: Mapping[str, Path], count: int = 2
) -> list[Example]:
    """The cases of highest and of lowest mean DSC over their classes; none twice, none without a prediction."""
    means = {
        case.case: statistics.fmean(case.dsc.values())
        for case in cases
        if case.dsc and not case.missing and case.case in pairs
    }
    order = sorted(means, key=lambda case: -means[case])
    best = order[:count]
    worst = [case for case in order[-count:] if case not in best]
    return [
        Example(pair=pairs[case], image=images.get(case), dsc=means[case], why=why)
        for why, names in (("best", best), ("worst", worst))
        for case in names
    ]


def draw_examples(examples: Sequence[Example]) -> "Picture":
    """A row for each case: CT, reference and prediction, on the slice that shows most of the reference.

    Only the classes that the reference annotates are drawn. The view is the radiologist's: the patient's right is on
    the left. Where the CT is not known its panel is black.

    Raises:
        FlareError: if Pillow is not installed.
        ImageError: if a file cannot be read.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise FlareError('a picture needs Pillow: pip install "flare-infer[picture]"') from error
    columns = ("CT", "reference", "prediction")
    width = _GAP + len(columns) * (_PANEL + _GAP)
    row = _PANEL + 34
    canvas = Image.new("RGB", (width, 40 + len(examples) * row), _PAPER)
    pen = ImageDraw.Draw(canvas)
    for index, name in enumerate(columns):
        pen.text((_GAP + index * (_PANEL + _GAP), 10), name, _INK, font=ImageFont.load_default(size=18))
    for number, example in enumerate(examples):
        top = 40 + number * row
        text = f"{example.why}: {example.pair.case}, mean DSC {example.dsc:.3f}"
        pen.text((_GAP, top + _PANEL + 6), text, _FAINT, font=ImageFont.load_default(size=16))
        for index, pixels in enumerate(_panels(example)):
            panel = Image.fromarray(pixels)
            scale = min(_PANEL / panel.width, _PANEL / panel.height)
            size = (max(1, round(panel.width * scale)), max(1, round(panel.height * scale)))
            left = _GAP + index * (_PANEL + _GAP)
            canvas.paste(panel.resize(size, Image.Resampling.NEAREST), (left, top))
    return canvas


def _panels(example: Example) -> list[npt.NDArray[np.uint8]]:
    """CT, reference and prediction of one slice, in color, with square pixels."""
    pair = example.pair
    reference, _ = to_lps(read_label_map(pair.reference))
    spacing_mm = reference.placement.spacing_mm
    shown = np.isin(reference.array_zyx, pair.annotated) & (reference.array_zyx != labels.BACKGROUND)
    z = _slice_to_show(np.where(shown, reference.array_zyx, labels.BACKGROUND))
    planes = [_annotated_plane(reference, z, pair)]
    if pair.prediction is not None:
        prediction, _ = to_lps(read_label_map(pair.prediction))
        planes.append(_annotated_plane(prediction, z, pair))
    gray = np.zeros(planes[0].shape, dtype=np.uint8)
    if example.image is not None:
        scan, _ = to_lps(read_volume(example.image))
        if scan.shape == reference.shape:
            gray = soft_tissue(scan.array_zyx[z])
    plain = np.stack([gray] * 3, axis=-1)
    return [_square(panel, spacing_mm) for panel in (plain, *(_colored(plain, plane) for plane in planes))]


def _annotated_plane(volume: Volume, z: int, pair: Pair) -> npt.NDArray[Any]:
    plane = volume.array_zyx[z]
    return np.where(np.isin(plane, pair.annotated), plane, labels.BACKGROUND)


def _slice_to_show(codes_zyx: npt.NDArray[Any]) -> int:
    """The slice with most tumor, else with most labeled voxels."""
    tumor = (codes_zyx == labels.TUMOR).sum(axis=(1, 2))
    return int(np.argmax(tumor if tumor.any() else (codes_zyx != labels.BACKGROUND).sum(axis=(1, 2))))


def _colored(plain: npt.NDArray[np.uint8], plane: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    panel = plain.astype(np.float32)
    for code, color in COLORS.items():
        inside = plane == code
        panel[inside] = (1 - _FILL) * panel[inside] + _FILL * np.array(color)
    return panel.astype(np.uint8)


def _square(panel: npt.NDArray[np.uint8], spacing_mm: Spacing) -> npt.NDArray[np.uint8]:
    """Rows repeated or left out until a pixel is as high as it is wide."""
    rows = max(1, round(panel.shape[0] * spacing_mm[1] / spacing_mm[2]))
    return np.ascontiguousarray(panel[np.arange(rows) * panel.shape[0] // rows])
