"""Lesions of a folder: a table by size for the terminal and for Markdown, and all of them as CSV."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.table import Table

from flare_eval.accuracy.froc import FALSE_PER_SCAN, Froc, froc
from flare_eval.accuracy.lesions import LEAST_IOU, STRICT_IOU, CaseLesions, ScoredLesion
from flare_eval.accuracy.scores import CaseScores, FolderScores
from flare_eval.label_maps.csv_text import csv_text
from flare_eval.reports.summary import markdown_table

BOUNDS_MM: Final = (10.0, 20.0, 50.0)
"""Where sizes are parted, as diameter of the ball of the same volume.

10 mm is the least longest diameter of a measurable lesion (RECIST 1.1), and LI-RADS has bounds at 10 and 20 mm; 20 mm
and 50 mm are those by which liver cancer is staged (AJCC, 8th edition).
"""

LESIONS_HEADER: Final = (
    "case",
    "map",
    "number",
    "volume_ml",
    "diameter_mm",
    "left_mm",
    "posterior_mm",
    "superior_mm",
    "cut",
    "outcome",
    "partner",
    "iou",
    "dsc",
    "best_iou",
    "confidence",
)
"""Names of the columns of `lesions.csv`; `map` is reference or prediction."""

FROC_HEADER: Final = ("confidence", "sensitivity", "false_per_scan")
"""Names of the columns of `froc.csv`."""

_HEADER: Final = ("diameter (mm)", "lesions", "touched", "found", f"IoU {STRICT_IOU:g}", "found %", "mean DSC")
_NOTHING: Final = "-"


@dataclass(frozen=True, kw_only=True)
class SizeRow:
    """The lesions of the references within a range of sizes.

    Attributes:
        size: the range, for people.
        lesions: these lesions.
    """

    size: str
    lesions: tuple[ScoredLesion, ...]

    @property
    def found(self) -> tuple[ScoredLesion, ...]:
        """Those that were found."""
        return tuple(lesion for lesion in self.lesions if lesion.partner is not None)

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        found = self.found
        touched = sum(lesion.touched for lesion in self.lesions)
        strict = sum(lesion.best_iou >= STRICT_IOU for lesion in self.lesions)
        share = f"{100 * len(found) / len(self.lesions):.1f}" if self.lesions else _NOTHING
        dsc = f"{statistics.fmean(lesion.dsc for lesion in found):.4f}" if found else _NOTHING
        return (self.size, *map(str, (len(self.lesions), touched, len(found), strict)), share, dsc)


def size_rows(cases: Sequence[CaseLesions]) -> list[SizeRow]:
    """One row for each range of sizes, then one for all."""
    every = tuple(lesion for case in cases for lesion in case.reference)
    rows = []
    for low, high in zip((0.0, *BOUNDS_MM), (*BOUNDS_MM, float("inf")), strict=True):
        size = f"< {high:g}" if not low else f"{low:g} to {high:g}" if high < float("inf") else f">= {low:g}"
        rows.append(SizeRow(size=size, lesions=tuple(one for one in every if low <= one.diameter_mm < high)))
    return [*rows, SizeRow(size="all", lesions=every)]


def lesion_table(scores: FolderScores) -> Table | None:
    """The table for a terminal; None if there is no case whose reference annotates tumors."""
    cases = _compared(scores.cases)
    if not cases:
        return None
    table = Table(title=f"lesions of {len(cases)} case(s), found from an IoU of {LEAST_IOU:g}")
    for column in _HEADER:
        table.add_column(column, justify="left" if column == _HEADER[0] else "right", no_wrap=True)
    rows = size_rows(cases)
    for row in rows:
        table.add_row(*row.cells, end_section=row is rows[-2])
    return table


def lesion_lines(scores: FolderScores) -> list[str]:
    """What the table does not hold, one line each: false lesions, the free-response curve, cases that are left out."""
    cases = _compared(scores.cases)
    lines = []
    if cases:
        false = [lesion for case in cases for lesion in case.false]
        apart = sum(not lesion.touched for lesion in false)
        lines.append(
            f"false lesions: {len(false)}, {len(false) / len(cases):.2f} a scan; {apart} of them touch no tumor"
        )
        lines += _froc_lines(scores)
    return lines + _left_out(scores)


def lesion_section(scores: FolderScores) -> str:
    """The section of `summary.md`."""
    cases = _compared(scores.cases)
    lines = ["", "## Lesions", ""]
    if cases:
        lines += [*markdown_table(_HEADER, [row.cells for row in size_rows(cases)]), ""]
    curve = curve_of(scores)
    if curve is not None:
        header = ("false lesions a scan", *(f"{rate:g}" for rate in FALSE_PER_SCAN))
        reached = [curve.sensitivity_at(rate) for rate in FALSE_PER_SCAN]
        lines += [*markdown_table(header, [("sensitivity", *(f"{value:.4f}" for value in reached))]), ""]
    lines += [f"- {line}" for line in lesion_lines(scores)]
    return "\n".join(lines) + "\n"


def lesions_to_csv(scores: FolderScores) -> str:
    """The content of `lesions.csv`: a row for each lesion of a reference, and one for each predicted lesion."""
    rows = [
        _row(case.case, name, lesion)
        for case in scores.cases
        if case.lesions is not None
        for name, group in (("reference", case.lesions.reference), ("prediction", case.lesions.predicted))
        for lesion in group
    ]
    return csv_text(LESIONS_HEADER, rows)


def froc_to_csv(scores: FolderScores) -> str:
    """The content of `froc.csv`: a row for each point of the free-response curve, none if there is no curve."""
    curve = curve_of(scores)
    points = () if curve is None else curve.points
    numbers = ((point.confidence, point.sensitivity, point.false_per_scan) for point in points)
    return csv_text(FROC_HEADER, [tuple(f"{value:.6f}" for value in row) for row in numbers])


def curve_of(scores: FolderScores) -> Froc | None:
    """The free-response curve of the cases in which the confidence of each predicted lesion is known."""
    return froc([case for case in _compared(scores.cases) if not case.unsure])


def _row(case: str, name: str, lesion: ScoredLesion) -> tuple[object, ...]:
    matched = lesion.partner is not None
    if name == "reference":
        outcome = "found" if matched else "missed"
    else:
        outcome = "true" if matched else "surplus" if lesion.surplus else "false"
    return (
        case,
        name,
        lesion.number,
        f"{lesion.volume_ml:.4f}",
        f"{lesion.diameter_mm:.2f}",
        *(f"{value:.2f}" for value in lesion.center_mm),
        "yes" if lesion.cut else "no",
        outcome,
        "" if lesion.partner is None else lesion.partner,
        f"{lesion.iou:.6f}" if matched else "",
        f"{lesion.dsc:.6f}" if matched else "",
        f"{lesion.best_iou:.6f}",
        "" if lesion.confidence is None else f"{lesion.confidence:.6f}",
    )


def _froc_lines(scores: FolderScores) -> list[str]:
    lesions = {case.case: case.lesions for case in scores.cases if case.lesions is not None}
    unsure = [f"{name}: {of_case.unsure}" for name, of_case in lesions.items() if of_case.unsure]
    curve = curve_of(scores)
    if curve is None:
        return [f"no free-response curve, confidences are not known: {unsure[0]}"] if unsure else []
    reached = ", ".join(f"{curve.sensitivity_at(rate):.2f} at {rate:g}" for rate in FALSE_PER_SCAN)
    lines = [f"sensitivity at false lesions a scan ({curve.scans} case(s), {curve.lesions} lesion(s)): {reached}"]
    return lines + [f"not in the free-response curve: {line}" for line in unsure]


def _compared(cases: Sequence[CaseScores]) -> list[CaseLesions]:
    return [case.lesions for case in cases if case.lesions is not None]


def _left_out(scores: FolderScores) -> list[str]:
    """A line on the cases that are not in the table: those without annotated tumor, and those with a bad reference."""
    lesions = set(scores.classes.label_set.lesion_codes)
    if not lesions:
        return ["no count of lesions: none of the classes is a lesion"]
    left_out = [case for case in scores.cases if case.lesions is None]
    unknown = [case.case for case in left_out if not lesions & case.dsc.keys()]
    unread = [case.case for case in left_out if lesions & case.dsc.keys()]
    lines = [f"in no count of lesions, tumors are not scored there: {', '.join(unknown)}"] if unknown else []
    return lines + [f"in no count of lesions, the reference cannot be read: {case}" for case in unread]
