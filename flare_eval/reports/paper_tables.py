"""The paper's Tables 3 and 4: accuracy by class in percent, as Markdown and CSV."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from flare_eval.label_maps.csv_text import csv_text
from flare_eval.reports.summary import Summary, markdown_row
from flare_infer import labels

_METRICS: Final = ("dsc", "nsd")
_NOTHING: Final = "-"


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One line: a target, and for each metric mean and standard deviation in percent."""

    target: str
    means: tuple[float | None, ...]
    sds: tuple[float | None, ...]


def table_3(summary: Summary) -> str:
    """Mean and standard deviation over cases of each class, in percent, as Markdown.

    In the averages, as in the paper, the mean is that of class means and the deviation that of class deviations.
    """
    lines = [markdown_row(("Target", "DSC (%)", "NSD (%)")), markdown_row((":---", "---:", "---:"))]
    for row in _rows(summary):
        cells = [_with_sd(mean, sd) for mean, sd in zip(row.means, row.sds, strict=True)]
        lines.append(markdown_row((row.target, *cells)))
    return "\n".join(lines) + "\n"


def table_3_csv(summary: Summary) -> str:
    """The numbers of `table_3` as CSV, in percent; empty where there is none."""
    header = ("target", *(f"{metric}_{what}" for metric in _METRICS for what in ("mean", "sd")))
    rows = []
    for row in _rows(summary):
        pairs = zip(row.means, row.sds, strict=True)
        rows.append((row.target, *(_bare(value) for pair in pairs for value in pair)))
    return csv_text(header, rows)


def table_4(summaries: Mapping[str, Summary]) -> str:
    """Mean of each class of several submissions side by side, in percent, as Markdown; by name of the submission."""
    columns = [f"{_escaped(name)} {metric.upper()} (%)" for name in summaries for metric in _METRICS]
    lines = [markdown_row(("Target", *columns)), markdown_row((":---", *["---:"] * len(columns)))]
    for target, *means in _side_by_side(summaries):
        lines.append(markdown_row((str(target), *(_NOTHING if mean == "" else str(mean) for mean in means))))
    return "\n".join(lines) + "\n"


def table_4_csv(summaries: Mapping[str, Summary]) -> str:
    """The numbers of `table_4` as CSV."""
    header = ("target", *(f"{name}_{metric}" for name in summaries for metric in _METRICS))
    return csv_text(header, _side_by_side(summaries))


def _side_by_side(summaries: Mapping[str, Summary]) -> list[tuple[str, ...]]:
    tables = [_rows(summary) for summary in summaries.values()]
    return [
        (rows[0].target, *(_bare(mean) for row in rows for mean in row.means)) for rows in zip(*tables, strict=True)
    ]


def _rows(summary: Summary) -> list[_Row]:
    rows = [
        _Row(
            target=labels.NAMES[code].capitalize(),
            means=tuple(_percent(summary.mean(code, metric)) for metric in _METRICS),
            sds=tuple(_percent(summary.sd(code, metric)) for metric in _METRICS),
        )
        for code in labels.CODES
    ]
    for target, codes in (("Average organ", labels.ORGANS), ("Average", labels.CODES)):
        rows.append(
            _Row(
                target=target,
                means=tuple(_percent(summary.mean_of(codes, metric)) for metric in _METRICS),
                sds=tuple(_percent(_mean_sd(summary, codes, metric)) for metric in _METRICS),
            )
        )
    return rows


def _mean_sd(summary: Summary, codes: Sequence[int], metric: str) -> float | None:
    """Mean of the deviations of the classes; None unless every class that was scored has one."""
    sds = [summary.sd(code, metric) for code in summary.scored(codes, metric)]
    known = [sd for sd in sds if sd is not None]
    return statistics.fmean(known) if known and len(known) == len(sds) else None


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _with_sd(mean: float | None, sd: float | None) -> str:
    if mean is None:
        return _NOTHING
    return _bare(mean) if sd is None else f"{mean:.2f} ± {sd:.2f}"


def _bare(value: float | None) -> str:
    if value is None:
        return ""
    return "nan" if math.isnan(value) else f"{value:.2f}"


def _escaped(name: str) -> str:
    return name.replace("|", "\\|")
