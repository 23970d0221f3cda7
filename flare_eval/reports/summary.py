"""The scores of a folder by class, as a table for the terminal and as Markdown with intervals and notes."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.table import Table
from rich.text import Text

from flare_eval.accuracy.mode import Mode
from flare_eval.accuracy.protocol import rounded
from flare_eval.accuracy.scores import CaseScores, FolderScores
from flare_eval.reports.significance import Interval, mean_interval, score_matrix
from flare_infer.label_set import FLARE23, LabelSet

_HEADER: Final = ("class", "name", "cases", "mean DSC", "sd", "min", "mean NSD", "sd", "min")
_NOTHING: Final = "-"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The scores of one class in one metric over cases, 0..1."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        """Mean of the scores; None without a score, NaN if one of them is."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """Standard deviation of the scores as of a sample; None with fewer than two, NaN if one of them is."""
        if len(self.values) < 2:
            return None
        return math.nan if any(math.isnan(value) for value in self.values) else statistics.stdev(self.values)

    @property
    def least(self) -> float | None:
        """The smallest score; None without one."""
        return min(self.values, default=None)


@dataclass(frozen=True, kw_only=True)
class ClassSummary:
    """One class over the cases of a folder.

    Attributes:
        code: code of the class.
        untrained: whether the model never learned the class, so that it was not scored.
        annotated: number of cases that annotate the class; failed cases are not counted.
        dsc: DSC of each case in which the class was scored.
        nsd: NSD of these cases.
    """

    code: int
    untrained: bool
    annotated: int
    dsc: Spread
    nsd: Spread


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All classes of some cases.

    Attributes:
        classes: one for each class, in the order of the codes.
        mode: rules of scoring; in official mode means are rounded.
        label_set: the classes.
    """

    classes: tuple[ClassSummary, ...]
    mode: Mode = Mode.FIXED
    label_set: LabelSet = FLARE23

    def mean(self, code: int, metric: str) -> float | None:
        """Mean of a class, in official mode rounded; `metric` is "dsc" or "nsd". None if it was not scored."""
        value = next(getattr(row, metric).mean for row in self.classes if row.code == code)
        return value if value is None or self.mode is Mode.FIXED else rounded(value)

    def sd(self, code: int, metric: str) -> float | None:
        """Standard deviation of a class; None with fewer than two scores."""
        spread: Spread = next(getattr(row, metric) for row in self.classes if row.code == code)
        return spread.sd

    def scored(self, codes: Sequence[int], metric: str) -> tuple[int, ...]:
        """Those of the classes that were scored at all."""
        return tuple(code for code in codes if self.mean(code, metric) is not None)

    def mean_of(self, codes: Sequence[int], metric: str) -> float | None:
        """Mean of class means, as the challenge ranks organs; None if none of the classes was scored."""
        means = [mean for code in codes if (mean := self.mean(code, metric)) is not None]
        if not means:
            return None
        return statistics.fmean(means) if self.mode is Mode.FIXED else rounded(statistics.fmean(means))


def summarize(scores: FolderScores) -> Summary:
    """The scores of a folder by class."""
    return summarize_cases(scores.cases, scores.untrained, scores.mode, scores.classes.label_set)


def summarize_cases(
    cases: Sequence[CaseScores],
    untrained: tuple[int, ...] = (),
    mode: Mode = Mode.FIXED,
    label_set: LabelSet = FLARE23,
) -> Summary:
    """The scores of cases by class."""
    return Summary(
        mode=mode,
        label_set=label_set,
        classes=tuple(
            ClassSummary(
                code=code,
                untrained=code in untrained,
                annotated=sum(code in case.dsc or code in case.untrained for case in cases),
                dsc=Spread(values=tuple(case.dsc[code] for case in cases if code in case.dsc)),
                nsd=Spread(values=tuple(case.nsd[code] for case in cases if code in case.nsd)),
            )
            for code in label_set.codes
        ),
    )


def notes(scores: FolderScores) -> list[str]:
    """Notes below the table, one line each: where the annotated classes came from, and every case that is special."""
    if scores.annotated_from is None:
        lines = ["no file of annotated classes: all classes count as annotated in every case"]
    else:
        lines = [f"annotated classes from {scores.annotated_from}"]
    if scores.untrained:
        names = scores.classes.label_set.in_words(scores.untrained)
        lines.append(f"untrained, left out: {names}")
    damaged = {case.case: case.damaged for case in scores.cases if case.damaged}
    lines += [f"missing prediction, counted as 0: {case}" for case in scores.missing if case not in damaged]
    lines += [f"damaged prediction, counted as missing: {case}: {reason}" for case, reason in damaged.items()]
    lines += [f"failed, in no mean: {case}: {reason}" for case, reason in scores.failed.items()]
    lines += [f"prediction without a reference, not scored: {case}" for case in scores.unmatched]
    return lines


def to_table(scores: FolderScores) -> Table:
    """The table for a terminal, without the smallest scores: it fits 80 columns."""
    table = Table(title=Text(_title(scores)))  # a Text: brackets in a path are no markup
    for column in _for_terminal(_HEADER):
        name = column.removeprefix("mean ")
        table.add_column(name, justify="left" if name == "name" else "right", no_wrap=True)
    summary = summarize(scores)
    for row in summary.classes:
        table.add_row(*_for_terminal(_cells(row, summary)), end_section=row.code == summary.label_set.codes[-1])
    for total in _totals(summary):
        table.add_row(*_for_terminal(total))
    return table


def _for_terminal(cells: Sequence[str]) -> tuple[str, ...]:
    return tuple(cell for column, cell in zip(_HEADER, cells, strict=True) if column != "min")


def to_markdown(scores: FolderScores) -> str:
    """The table, confidence intervals and notes as Markdown."""
    summary = summarize(scores)
    lines = [
        f"# {_title(scores)}",
        "",
        *markdown_table(_HEADER, [_cells(row, summary) for row in summary.classes], left=(1,)),
        *(markdown_row([f"**{cell}**" if cell else "" for cell in total]) for total in _totals(summary)),
        "",
        *_intervals(scores),
        *(f"- {line}" for line in notes(scores)),
    ]
    return "\n".join(lines) + "\n"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """The lines of a Markdown table; the columns in `left` are aligned to the left, the others to the right."""
    alignment = [":---" if column in left else "---:" for column in range(len(header))]
    return [markdown_row(cells) for cells in (header, alignment, *rows)]


def markdown_row(cells: Sequence[str]) -> str:
    """One row of a Markdown table; a vertical bar in a cell, as a name may have one, ends no cell."""
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def intervals_of(cases: Sequence[CaseScores], label_set: LabelSet = FLARE23) -> dict[str, Interval | None]:
    """Bootstrap intervals of the means that the challenge ranks, by name; None with fewer than two cases.

    Of another label set they are those of its organs and of its lesions, if it has any.
    """
    return {
        f"{name} {metric.upper()}": mean_interval(score_matrix(cases, codes, metric))
        for name, codes in _parts(label_set)
        for metric in ("dsc", "nsd")
    }


def _parts(label_set: LabelSet) -> list[tuple[str, tuple[int, ...]]]:
    """What means are taken of, by name: organs and tumor, or what another label set has in their place."""
    lesions = "tumor" if label_set.is_challenge else "lesion"
    parts = [("organ" if label_set.lesion_codes else "class", label_set.organs), (lesions, label_set.lesion_codes)]
    return [(name, codes) for name, codes in parts if codes]


def _intervals(scores: FolderScores) -> list[str]:
    """Lines of Markdown with the intervals of the means that the challenge ranks; none if there is no interval."""
    known = [
        f"- {name}: {interval}"
        for name, interval in intervals_of(scores.cases, scores.classes.label_set).items()
        if interval is not None
    ]
    return ["95 % bootstrap intervals over cases:", "", *known, ""] if known else []


def _title(scores: FolderScores) -> str:
    return f"{scores.predictions} against {scores.references}, {len(scores.cases)} case(s), mode {scores.mode}"


def _cells(row: ClassSummary, summary: Summary) -> tuple[str, ...]:
    head = (str(row.code), summary.label_set.names[row.code], str(row.annotated))
    if row.untrained:
        return (*head, "untrained", *[_NOTHING] * 5)
    numbers = ((summary.mean(row.code, metric), *_spread(row, metric)) for metric in ("dsc", "nsd"))
    return (*head, *(_number(value) for group in numbers for value in group))


def _spread(row: ClassSummary, metric: str) -> tuple[float | None, float | None]:
    spread: Spread = getattr(row, metric)
    return spread.sd, spread.least


def _totals(summary: Summary) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for part, codes in _parts(summary.label_set):
        name = f"{part} mean ({len(summary.scored(codes, 'dsc'))} of {len(codes)})" if part != "tumor" else part
        dsc, nsd = (_number(summary.mean_of(codes, metric)) for metric in ("dsc", "nsd"))
        rows.append(("", name, "", dsc, "", "", nsd, "", ""))
    return rows


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.4f}"
