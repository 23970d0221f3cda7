"""Reasons to look at a case with care. None of them stops a run, and none is a finding about a patient."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from flare_infer import labels
from flare_infer.class_names import code_of_name
from flare_infer.geometry import Box, resampled_shape
from flare_infer.results.case import CaseStatistics, ClassStatistics, Flag, SegmentedCase
from flare_infer.volume.field_of_view import short_scan_doubts
from flare_infer.volume.hounsfield import intensity_doubts
from flare_infer.volume.orient import turn
from flare_infer.volume.sides import side_doubts

SHORT_SCAN: Final = "short scan"
ORGAN_CUT: Final = "organ cut"
IMPLAUSIBLE_VOLUME: Final = "implausible volume"
CONTRAST_PHASE: Final = "contrast phase"
NO_HOUNSFIELD_UNITS: Final = "no Hounsfield units"
LEFT_RIGHT_CONFLICT: Final = "left-right conflict"
LOW_CONFIDENCE: Final = "low confidence"
KINDS: Final = (
    SHORT_SCAN, ORGAN_CUT, IMPLAUSIBLE_VOLUME, CONTRAST_PHASE, NO_HOUNSFIELD_UNITS, LEFT_RIGHT_CONFLICT, LOW_CONFIDENCE
)  # fmt: skip
"""Every kind of flag."""

_LEAVE_THE_ABDOMEN: Final = (labels.AORTA, labels.INFERIOR_VENA_CAVA, labels.ESOPHAGUS)
"""Every abdominal CT cuts them: to say so would tell nobody anything."""

_REFERENCE_G: Final[Mapping[int, tuple[float, float]]] = {
    labels.LIVER: (1400.0, 1800.0),
    labels.RIGHT_KIDNEY: (137.5, 155.0),
    labels.LEFT_KIDNEY: (137.5, 155.0),
    labels.SPLEEN: (130.0, 150.0),
    labels.PANCREAS: (120.0, 140.0),
    labels.RIGHT_ADRENAL_GLAND: (6.5, 7.0),
    labels.LEFT_ADRENAL_GLAND: (6.5, 7.0),
    labels.GALLBLADDER: (56.0, 68.0),
    labels.STOMACH: (370.0, 400.0),
}
"""Masses of the adult reference woman and man, content included (ICRP Publication 89, 2002)."""

_G_PER_ML: Final = 1.05
_TIMES: Final = 3.0
"""A third of the smaller and three times the larger reference still count as plausible."""

_MAY_BE_SMALL: Final = (labels.GALLBLADDER, labels.STOMACH, *labels.ADRENAL_GLANDS)
"""Empty ones are as small as they like; and of the thin limbs of healthy adrenal glands CT shows less than 2 mL."""

_LEAST_CONFIDENCE: Final = 0.6
"""In patients left out, three of four bad outlines (DSC < .7) lie below it, and no good one (docs/statistics.md)."""

_ADVICE: Final = "compare with where the scan came from"


def plausible_ml(code: int) -> tuple[float, float] | None:
    """Least and greatest plausible volume of an adult's organ (the challenge's code), in mL; None if none is known."""
    if code not in _REFERENCE_G:
        return None
    woman, man = _REFERENCE_G[code]
    return 0.0 if code in _MAY_BE_SMALL else woman / _G_PER_ML / _TIMES, man / _G_PER_ML * _TIMES


def flags_of(case: SegmentedCase, statistics: CaseStatistics, inside: Box) -> tuple[Flag, ...]:
    """Every flag of a case: those about the scan first, then those about classes in the order of their codes.

    Args:
        case: the case.
        statistics: what was measured of it.
        inside: the part of the scan that is no padding.
    """
    flags = [
        *_short_scan(case, inside),
        *_no_hounsfield_units(case, inside),
        *_contrast_phase(statistics),
        *_sides(case, statistics),
    ]
    for found in statistics.classes:
        if found.volume_ml:
            flags += [*_organ_cut(found), *_implausible_volume(found), *_low_confidence(found)]
    return tuple(flags)


def _short_scan(case: SegmentedCase, inside: Box) -> Iterator[Flag]:
    """The scan fills less than half of the model's window."""
    if case.spec is None:
        return
    turned, way = turn(case.scan, case.spec.orientation, case.spec.transpose)
    shape = way.turned_shape(inside.shape)
    planes = resampled_shape(shape, turned.placement.spacing_mm, case.spec.spacing_mm)[0]
    yield from (Flag(kind=SHORT_SCAN, reason=reason) for reason in short_scan_doubts(planes, case.spec))


def _no_hounsfield_units(case: SegmentedCase, inside: Box) -> Iterator[Flag]:
    if case.in_hounsfield:
        return
    reasons = intensity_doubts(case.scan.array_zyx, inside, case.scan.placement.spacing_mm)
    reason = reasons[0] if reasons else "the intensities are no Hounsfield units"
    yield Flag(kind=NO_HOUNSFIELD_UNITS, reason=reason)


def _contrast_phase(statistics: CaseStatistics) -> Iterator[Flag]:
    if statistics.phase in {"unenhanced", "arterial"}:
        seen = [
            f"{found.name} {found.intensities.median:.0f} HU"
            for found in statistics.classes
            if found.intensities is not None
            and code_of_name(found.name) in {labels.AORTA, labels.LIVER, labels.SPLEEN, *labels.KIDNEYS}
        ]
        yield Flag(
            kind=CONTRAST_PHASE,
            reason=f"looks {statistics.phase} (medians: {', '.join(seen)}); a model that learned from scans of the "
            "portal venous phase finds less here, tumors above all",
        )


def _sides(case: SegmentedCase, statistics: CaseStatistics) -> Iterator[Flag]:
    names = [labels.NAMES[code] if (code := code_of_name(name)) is not None else name for name in case.names]
    if doubts := side_doubts(case.labels, names):
        yield from (Flag(kind=LEFT_RIGHT_CONFLICT, reason=doubt) for doubt in doubts)
        return
    centers = {
        code_of_name(found.name): (found.center_mm[0], found.name)
        for found in statistics.classes
        if found.center_mm is not None
    }
    for right, left in (labels.KIDNEYS, labels.ADRENAL_GLANDS):
        if right in centers and left in centers and centers[right][0] >= centers[left][0]:
            yield _left_of(centers[right][1], centers[left][1])
    own = case.spec.own_labels if case.spec is not None else None
    if own is not None:
        found = {one.name: one.center_mm[0] for one in statistics.classes if one.center_mm is not None}
        for right_name, left_name in own.pairs:
            is_known = code_of_name(right_name) in centers and code_of_name(right_name) is not None
            if not is_known and found.get(right_name, -math.inf) >= found.get(left_name, math.inf):
                yield _left_of(right_name, left_name)


def _left_of(right: str, left: str) -> Flag:
    return Flag(kind=LEFT_RIGHT_CONFLICT, reason=f"the {right} was found left of the {left}; {_ADVICE}")


def _organ_cut(found: ClassStatistics) -> Iterator[Flag]:
    code = code_of_name(found.name)
    if found.cut and code in labels.ORGANS and code not in _LEAVE_THE_ABDOMEN:
        ends: Sequence[str] = found.cut_at
        yield Flag(
            kind=ORGAN_CUT,
            reason=f"the {found.name} reaches the {' and the '.join(ends)} edge of the scan, and the rest of it may "
            "lie outside: its volume is a lower bound",
            code=found.code,
        )


def _implausible_volume(found: ClassStatistics) -> Iterator[Flag]:
    code = code_of_name(found.name)
    bounds = None if code is None else plausible_ml(code)
    if bounds is None:
        return
    least, most = bounds
    # Of an organ that the scan cuts only a part is seen: it may be too large, and is never too small.
    if (found.volume_ml < least and not found.cut) or found.volume_ml > most:
        range_text = f"up to {most:.0f}" if least == 0 else f"{least:.0f} to {most:.0f}"
        yield Flag(
            kind=IMPLAUSIBLE_VOLUME,
            reason=f"{found.volume_ml:.1f} mL of {found.name}, where an adult has {range_text}: removed in part, "
            "diseased, a child's, or not found well",
            code=found.code,
        )


def _low_confidence(found: ClassStatistics) -> Iterator[Flag]:
    if found.confidence is not None and found.confidence < _LEAST_CONFIDENCE:
        yield Flag(
            kind=LOW_CONFIDENCE,
            reason=f"the network is unsure of the {found.name} (confidence {found.confidence:.2f}): check its outline",
            code=found.code,
        )
