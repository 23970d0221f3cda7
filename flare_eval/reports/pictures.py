"""The best and the worst cases of a report, as CT, reference and prediction side by side."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from flare_eval.accuracy.pairing import PredictionPair
from flare_eval.accuracy.scores import CaseScores
from flare_eval.label_maps.label_map import read_label_map
from flare_infer import labels
from flare_infer.errors import MissingExtraError
from flare_infer.formats.volume_io import read_volume
from flare_infer.geometry import Spacing
from flare_infer.results.picture import COLORS, soft_tissue
from flare_infer.volume.orient import turn

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_PAPER: Final = (255, 255, 255)
_INK: Final = (32, 36, 42)
_FAINT: Final = (132, 140, 150)
_PANEL: Final = 320
_GAP: Final = 12
_FILL: Final = 0.5
_COLUMNS: Final = ("CT", "reference", "prediction")
_HEAD: Final = 40
_ROW: Final = _PANEL + 34
_KEY_ROW: Final = 26
_KEY_COLUMNS: Final = 5
_NO_CT: Final = 48  # the gray on which labels are drawn without a CT


@dataclass(frozen=True, kw_only=True)
class Example:
    """One case for `draw_examples`.

    Attributes:
        pair: its reference and its prediction.
        image: file of its CT; None if it is unknown.
        dsc: its mean DSC over classes, 0..1.
        why: why it is shown, "best" or "worst".
    """

    pair: PredictionPair
    image: Path | None
    dsc: float
    why: str


def choose_examples(
    cases: Sequence[CaseScores], pairs: Mapping[str, PredictionPair], images: Mapping[str, Path], count: int = 2
) -> list[Example]:
    """The `count` cases of highest and of lowest mean DSC over their classes; none twice, none without a prediction."""
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


def draw_examples(examples: Sequence[Example]) -> tuple["Picture", list[str]]:
    """A row for each case, CT, reference and prediction, on the slice that shows most of the reference; a legend below.

    Only the classes that the reference annotates are drawn. The view is the radiologist's: the patient's right is on
    the left. Where the CT is unknown, or does not lie on the reference's grid, labels are drawn on plain gray and
    a text stands in place of the CT.

    Returns:
        the picture, and the names of the cases that are drawn without their CT.

    Raises:
        MissingExtraError: if Pillow is not installed.
        ImageError: if a file cannot be read.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise MissingExtraError('a picture needs Pillow: pip install "flare-infer[picture]"') from error
    shown = [_slice_of(example) for example in examples]
    codes = sorted({code for each in shown for plane in each.planes for code in np.unique(plane).tolist() if code})
    width = _GAP + len(_COLUMNS) * (_PANEL + _GAP)
    key = _HEAD + len(examples) * _ROW
    canvas = Image.new("RGB", (width, key + _KEY_ROW * -(-len(codes) // _KEY_COLUMNS) + _GAP), _PAPER)
    pen = ImageDraw.Draw(canvas)
    for index, name in enumerate(_COLUMNS):
        pen.text((_GAP + index * (_PANEL + _GAP), 10), name, _INK, font=ImageFont.load_default(size=18))
    for number, (example, slice_) in enumerate(zip(examples, shown, strict=True)):
        top = _HEAD + number * _ROW
        text = f"{example.why}: {example.pair.case}, mean DSC {example.dsc:.3f}"
        pen.text((_GAP, top + _PANEL + 6), text, _FAINT, font=ImageFont.load_default(size=16))
        if slice_.gray is None:
            center = (_GAP + _PANEL // 2, top + _PANEL // 2)
            pen.text(center, "no CT on this grid", _FAINT, font=ImageFont.load_default(size=16), anchor="mm")
        for index, pixels in slice_.panels():
            panel = Image.fromarray(pixels)
            scale = min(_PANEL / panel.width, _PANEL / panel.height)
            size = (max(1, round(panel.width * scale)), max(1, round(panel.height * scale)))
            left = _GAP + index * (_PANEL + _GAP)
            canvas.paste(panel.resize(size, Image.Resampling.NEAREST), (left, top))
    for number, code in enumerate(codes):
        left = _GAP + (number % _KEY_COLUMNS) * (width - _GAP) // _KEY_COLUMNS
        middle = key + _KEY_ROW * (number // _KEY_COLUMNS) + _KEY_ROW // 2
        pen.rectangle((left, middle - 8, left + 16, middle + 8), fill=COLORS[code])
        pen.text((left + 24, middle), labels.NAMES[code], _INK, font=ImageFont.load_default(size=16), anchor="lm")
    return canvas, [each.pair.case for each, slice_ in zip(examples, shown, strict=True) if slice_.gray is None]


@dataclass(frozen=True, kw_only=True)
class _Slice:
    """One slice (y, x): gray values of its CT, 0..255 (None if unknown); codes of reference and any prediction."""

    gray: npt.NDArray[np.uint8] | None
    planes: Sequence[npt.NDArray[Any]]
    spacing_mm: Spacing

    def panels(self) -> list[tuple[int, npt.NDArray[np.uint8]]]:
        """The pictures of CT, reference and prediction with square pixels, each with the index of its column."""
        gray = np.full(self.planes[0].shape, _NO_CT, dtype=np.uint8) if self.gray is None else self.gray
        plain = np.stack([gray] * 3, axis=-1)
        drawn = [] if self.gray is None else [(0, plain)]
        drawn += [(index, _colored(plain, plane)) for index, plane in enumerate(self.planes, start=1)]
        return [(index, _square_pixels(panel, self.spacing_mm)) for index, panel in drawn]


def _slice_of(example: Example) -> _Slice:
    """The slice of a case that shows most of its tumor, else most of its labels."""
    pair = example.pair
    reference, _ = turn(read_label_map(pair.reference), "LPS")
    spacing_mm = reference.placement.spacing_mm
    codes_zyx = _annotated_codes(reference.array_zyx, pair)
    z = _slice_to_show(codes_zyx)
    planes = [codes_zyx[z]]
    if pair.prediction is not None:
        prediction, _ = turn(read_label_map(pair.prediction), "LPS")
        planes.append(_annotated_codes(prediction.array_zyx[z], pair))
    gray = None
    if example.image is not None:
        scan, _ = turn(read_volume(example.image), "LPS")
        if scan.shape == reference.shape:
            gray = soft_tissue(scan.array_zyx[z])
    return _Slice(gray=gray, planes=planes, spacing_mm=spacing_mm)


def _annotated_codes(codes: npt.NDArray[Any], pair: PredictionPair) -> npt.NDArray[Any]:
    return np.where(np.isin(codes, pair.annotated), codes, labels.BACKGROUND)


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


def _square_pixels(panel: npt.NDArray[np.uint8], spacing_mm: Spacing) -> npt.NDArray[np.uint8]:
    """The panel with rows repeated or left out, so that its pixels are as high as they are wide in mm."""
    rows = max(1, round(panel.shape[0] * spacing_mm[1] / spacing_mm[2]))
    return np.ascontiguousarray(panel[np.arange(rows) * panel.shape[0] // rows])
