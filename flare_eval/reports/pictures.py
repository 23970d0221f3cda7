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
from flare_eval.reports.charts import add_key, new_figure
from flare_infer.exports.color_table import colors_of
from flare_infer.formats.volume_io import read_volume
from flare_infer.geometry import Spacing
from flare_infer.label_set import LabelSet
from flare_infer.labels import BACKGROUND
from flare_infer.results.picture import soft_tissue
from flare_infer.volume.orient import turn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FILL: Final = 0.5
_COLUMNS: Final = ("CT", "reference", "prediction")
_ROW_INCHES: Final = 3.8
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


def draw_examples(examples: Sequence[Example]) -> tuple["Figure", list[str]]:
    """A row for each case, CT, reference and prediction, on the slice that shows most of the reference; a legend below.

    Only the classes that the reference annotates are drawn. The view is the radiologist's: the patient's right is on
    the left. Where the CT is unknown, or does not lie on the reference's grid, labels are drawn on plain gray and
    a text stands in place of the CT.

    Returns:
        the figure, and the names of the cases that are drawn without their CT.

    Raises:
        MissingExtraError: if matplotlib is not installed.
        ImageError: if a file cannot be read.
    """
    figure = new_figure(10.0, _ROW_INCHES * len(examples))
    shown = [_slice_of(example) for example in examples]
    for part, example, slice_ in zip(
        figure.subfigures(len(examples), squeeze=False).flat, examples, shown, strict=True
    ):
        part.suptitle(f"{example.why}: {example.pair.case}, mean DSC {example.dsc:.3f}")
        for axes, name, panel in zip(part.subplots(1, len(_COLUMNS)), _COLUMNS, slice_.panels(), strict=True):
            axes.set_title(name)
            axes.set_axis_off()
            if panel is None:
                text = "no CT on this grid" if name == "CT" else f"no {name}"
                axes.text(0.5, 0.5, text, horizontalalignment="center")
            else:
                axes.imshow(panel, aspect=slice_.spacing_mm[1] / slice_.spacing_mm[2], interpolation="nearest")
    codes = sorted({code for each in shown for plane in each.planes for code in np.unique(plane).tolist() if code})
    add_key(figure, codes, _KEY_COLUMNS, examples[0].pair.classes.label_set)
    return figure, [each.pair.case for each, slice_ in zip(examples, shown, strict=True) if slice_.gray is None]


@dataclass(frozen=True, kw_only=True)
class _Slice:
    """One slice (y, x): gray values of its CT, 0..255 (None if unknown); codes of reference and any prediction."""

    gray: npt.NDArray[np.uint8] | None
    planes: Sequence[npt.NDArray[Any]]
    spacing_mm: Spacing
    label_set: LabelSet

    def panels(self) -> list[npt.NDArray[np.uint8] | None]:
        """The pictures of CT, reference and prediction (rows, columns, 3); None where there is nothing to show."""
        gray = np.full(self.planes[0].shape, _NO_CT, dtype=np.uint8) if self.gray is None else self.gray
        plain = np.stack([gray] * 3, axis=-1)
        drawn = [
            None if self.gray is None else plain,
            *(_colored(plain, plane, self.label_set) for plane in self.planes),
        ]
        return [*drawn, *[None] * (len(_COLUMNS) - len(drawn))]


def _slice_of(example: Example) -> _Slice:
    """The slice of a case that shows most of its tumor, else most of its labels."""
    pair = example.pair
    label_set = pair.classes.label_set
    reference, _ = turn(read_label_map(pair.reference, label_set, pair.classes.ignored), "LPS")
    spacing_mm = reference.placement.spacing_mm
    codes_zyx = _annotated_codes(reference.array_zyx, pair)
    z = _slice_to_show(codes_zyx, label_set)
    planes = [codes_zyx[z]]
    if pair.prediction is not None:
        prediction, _ = turn(read_label_map(pair.prediction, label_set), "LPS")
        planes.append(_annotated_codes(prediction.array_zyx[z], pair))
    gray = None
    if example.image is not None:
        scan, _ = turn(read_volume(example.image), "LPS")
        if scan.shape == reference.shape:
            gray = soft_tissue(scan.array_zyx[z])
    return _Slice(gray=gray, planes=planes, spacing_mm=spacing_mm, label_set=label_set)


def _annotated_codes(codes: npt.NDArray[Any], pair: PredictionPair) -> npt.NDArray[Any]:
    return np.where(np.isin(codes, pair.annotated), codes, BACKGROUND)


def _slice_to_show(codes_zyx: npt.NDArray[Any], label_set: LabelSet) -> int:
    """The slice with most of the lesions, else with most labeled voxels."""
    tumor = np.isin(codes_zyx, label_set.lesion_codes).sum(axis=(1, 2))
    return int(np.argmax(tumor if tumor.any() else (codes_zyx != BACKGROUND).sum(axis=(1, 2))))


def _colored(plain: npt.NDArray[np.uint8], plane: npt.NDArray[Any], label_set: LabelSet) -> npt.NDArray[np.uint8]:
    panel = plain.astype(np.float32)
    for code, color in enumerate(colors_of(label_set.names)):
        inside = (plane == code) & (code != BACKGROUND)
        panel[inside] = (1 - _FILL) * panel[inside] + _FILL * np.array(color)
    return panel.astype(np.uint8)
