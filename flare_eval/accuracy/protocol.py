"""The challenge's rules of accuracy, for one class of one case.

Two modes:

- `fixed`, for research: aorta, vena cava and esophagus are compared on all slices where the reference has them.
- `official`, to reproduce the organizers' numbers: their upper bound is exclusive, so the last of these slices is
  lost, and such an organ of one slice gives NaN; scores are rounded to 4 decimals.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from flare_eval.accuracy.classes import CHALLENGE, ScoredClasses
from flare_eval.accuracy.dice import dice_of_masks
from flare_eval.accuracy.mode import Mode
from flare_eval.accuracy.surface import Mask, surface_dice
from flare_infer.geometry import Spacing

LEAST_DSC_FOR_NSD: Final = 0.2
"""Where the DSC of a class is below this, its NSD is 0."""

OFFICIAL_DECIMALS: Final = 4


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """DSC and NSD of one class in one case, 0..1; in official mode NaN for a long organ of one slice."""

    dsc: float
    nsd: float


BOTH_EMPTY: Final = ClassScore(dsc=1.0, nsd=1.0)
ONE_EMPTY: Final = ClassScore(dsc=0.0, nsd=0.0)
MISSING: Final = ONE_EMPTY
"""The score of every class of a case without a prediction, in fixed mode."""


def score_class(
    prediction_zyx: npt.NDArray[np.uint8],
    reference_zyx: npt.NDArray[np.uint8],
    code: int,
    spacing_mm: Spacing,
    mode: Mode,
    classes: ScoredClasses = CHALLENGE,
) -> ClassScore:
    """Score one class of two label maps of one shape, or of the same box of both that holds the whole class.

    The first axis must be the stored slice axis, along which the long organs are cut.

    Args:
        prediction_zyx: predicted label map, shape (z, y, x), values are codes.
        reference_zyx: reference label map of the same shape.
        code: code of the class to score.
        spacing_mm: distance between voxel centers along (z, y, x), from the reference's header.
        mode: rules of scoring.
        classes: the tolerance of the class, and whether it is compared on the slices of the reference only.
    """
    prediction, reference = prediction_zyx == code, reference_zyx == code
    has_prediction, has_reference = bool(prediction.any()), bool(reference.any())
    if not (has_prediction and has_reference):
        return BOTH_EMPTY if has_prediction == has_reference else ONE_EMPTY
    if code in classes.on_reference_slices:
        slices = _slices_of(reference, mode)
        prediction, reference = prediction[slices], reference[slices]
    dsc = dice_of_masks(prediction, reference)
    nsd = (
        0.0 if dsc < LEAST_DSC_FOR_NSD else surface_dice(prediction, reference, spacing_mm, classes.tolerance_mm(code))
    )
    if mode is Mode.OFFICIAL:
        return ClassScore(dsc=rounded(dsc), nsd=rounded(nsd))
    return ClassScore(dsc=dsc, nsd=nsd)


def rounded(value: float) -> float:
    """The value as the organizers' tables have it; NaN stays NaN."""
    return float(np.round(value, OFFICIAL_DECIMALS))


def _slices_of(reference: Mask, mode: Mode) -> slice:
    """From the first axial slice of the reference to its last; official mode leaves out the last."""
    present = np.flatnonzero(reference.any(axis=(1, 2)))
    last = int(present[-1]) + (mode is Mode.FIXED)
    return slice(int(present[0]), last)
