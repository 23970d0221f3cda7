"""The free-response curve (FROC): how many lesions are found, and how many false ones a scan come with them.

Predicted lesions below a threshold of confidence are dropped. Each threshold is a point of the curve. Lesions are
matched once, with all of them kept, as `picai_eval` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flare_eval.accuracy.lesions import CaseLesions

FALSE_PER_SCAN: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Rates of false lesions at which a curve is read: those of the challenge LUNA16 (Setio et al. 2017)."""


@dataclass(frozen=True, kw_only=True)
class FrocPoint:
    """What is left when all predicted lesions below a confidence are dropped.

    Attributes:
        confidence: least confidence of the lesions that are kept.
        sensitivity: share of the lesions of the references that are found, 0..1.
        false_per_scan: false lesions a scan.
    """

    confidence: float
    sensitivity: float
    false_per_scan: float


@dataclass(frozen=True, kw_only=True)
class Froc:
    """A curve.

    Attributes:
        points: from the highest confidence to the lowest, at which all predicted lesions are kept.
        scans: number of cases.
        lesions: number of lesions in their references.
    """

    points: tuple[FrocPoint, ...]
    scans: int
    lesions: int

    def sensitivity_at(self, false_per_scan: float) -> float:
        """The largest sensitivity with at most so many false lesions a scan; nothing between points is assumed."""
        reached = (point.sensitivity for point in self.points if point.false_per_scan <= false_per_scan)
        return max(reached, default=0.0)


def froc(cases: Sequence[CaseLesions]) -> Froc | None:
    """The curve of some cases; None if their references have no lesion, or no lesion was predicted in them.

    Args:
        cases: cases in which every predicted lesion has its confidence.
    """
    lesions = sum(len(case.reference) for case in cases)
    true = [lesion.confidence for case in cases for lesion in case.predicted if lesion.partner is not None]
    false = [lesion.confidence for case in cases for lesion in case.false]
    thresholds = sorted({value for value in (*true, *false) if value is not None}, reverse=True)
    if not lesions or not thresholds:
        return None
    points = tuple(
        FrocPoint(
            confidence=threshold,
            sensitivity=_kept(true, threshold) / lesions,
            false_per_scan=_kept(false, threshold) / len(cases),
        )
        for threshold in thresholds
    )
    return Froc(points=points, scans=len(cases), lesions=lesions)


def _kept(confidences: Sequence[float | None], threshold: float) -> int:
    return sum(value is not None and value >= threshold for value in confidences)
