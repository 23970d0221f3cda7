"""One table for a folder: how well each class did, organs and tumor apart, with what a reader must know beside it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.table import Table
from rich.text import Text

from flare_eval.scoring import FolderScores
from flare_infer import labels

_HEADER: Final = ("class", "name", "cases", "mean DSC", "sd", "min")
_NOTHING: Final = "-"


@dataclass(frozen=True, kw_only=True)
class ClassSummary:
    """One class over the cases of a folder.

    Attributes:
        code: the class.
        untrained: whether the model never learned it, so that it was not scored.
        annotated: number of cases that annotate it; failed cases are not counted.
        dsc: its DSC, 0..1, in each case where it was scored.
    """

    code: int
    untrained: bool
    annotated: int
    dsc: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        """Mean DSC; None without a scored case."""
        return statistics.fmean(self.dsc) if self.dsc else None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All classes of a folder, in the order of their codes."""

    classes: tuple[ClassSummary, ...]

    @property
    def organ_means(self) -> tuple[float, ...]:
        """The means of the organs that were scored."""
        return tuple(row.mean for row in self.classes if row.code in labels.ORGANS and row.mean is not None)

    @property
    def organ_mean(self) -> float | None:
        """Mean of the organ means, as the challenge ranks it; None if no organ was scored."""
        return statistics.fmean(self.organ_means) if self.organ_means else None

    @property
    def tumor_mean(self) -> float | None:
        """Mean DSC of tumor; None if it was not scored."""
        return next(row.mean for row in self.classes if row.code == labels.TUMOR)


def summarize(scores: FolderScores) -> Summary:
    """The scores of a folder by class."""
    return Summary(
        classes=tuple(
            ClassSummary(
                code=code,
                untrained=code in scores.untrained,
                annotated=sum(code in case.dsc or code in case.untrained for case in scores.cases),
                dsc=tuple(case.dsc[code] for case in scores.cases if code in case.dsc),
            )
            for code in labels.CODES
        )
    )


def notes(scores: FolderScores) -> list[str]:
    """What a reader of the table must know, one line each: where the classes came from, every odd case."""
    if scores.annotated_from is None:
        lines = ["no file of annotated classes: all classes count as annotated in every case"]
    else:
        lines = [f"annotated classes from {scores.annotated_from}"]
    if scores.untrained:
        names = ", ".join(f"{code} {labels.NAMES[code]}" for code in scores.untrained)
        lines.append(f"untrained, left out: {names}")
    lines += [f"missing prediction, counted as 0: {case}" for case in scores.missing]
    lines += [f"failed, in no mean: {case}: {reason}" for case, reason in scores.failed.items()]
    lines += [f"prediction without a reference, not scored: {case}" for case in scores.unmatched]
    return lines


def to_table(scores: FolderScores) -> Table:
    """The table for a terminal."""
    table = Table(title=Text(_title(scores)))  # a Text: brackets in a path are no markup
    for column in _HEADER:
        table.add_column(column, justify="left" if column == "name" else "right")
    summary = summarize(scores)
    for row in summary.classes:
        table.add_row(*_cells(row), end_section=row.code == labels.CODES[-1])
    for name, mean in _totals(summary):
        table.add_row("", name, "", mean, "", "")
    return table


def to_markdown(scores: FolderScores) -> str:
    """The table and its notes as Markdown."""
    summary = summarize(scores)
    lines = [
        f"# {_title(scores)}",
        "",
        _markdown_row(_HEADER),
        _markdown_row(["---:", ":---", "---:", "---:", "---:", "---:"]),
        *(_markdown_row(_cells(row)) for row in summary.classes),
        *(_markdown_row(["", f"**{name}**", "", f"**{mean}**", "", ""]) for name, mean in _totals(summary)),
        "",
        *(f"- {line}" for line in notes(scores)),
    ]
    return "\n".join(lines) + "\n"


def _title(scores: FolderScores) -> str:
    return f"{scores.predictions} against {scores.references}, {len(scores.cases)} case(s)"


def _cells(row: ClassSummary) -> tuple[str, ...]:
    head = (str(row.code), labels.NAMES[row.code], str(row.annotated))
    if row.untrained:
        return (*head, "untrained", _NOTHING, _NOTHING)
    # The standard deviation is that of a sample, which one case does not have.
    deviation = statistics.stdev(row.dsc) if len(row.dsc) > 1 else None
    return (*head, _number(row.mean), _number(deviation), _number(min(row.dsc, default=None)))


def _totals(summary: Summary) -> tuple[tuple[str, str], ...]:
    organs = f"organ mean ({len(summary.organ_means)} of {len(labels.ORGANS)})"
    return (organs, _number(summary.organ_mean)), ("tumor", _number(summary.tumor_mean))


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.4f}"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
