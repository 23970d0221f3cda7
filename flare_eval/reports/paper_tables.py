"""The paper's Tables 3 and 4, accuracy by class in percent, and Table 5, the cost of each case."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from flare_eval.efficiency.case_run import CaseRun
from flare_eval.label_maps.csv_text import csv_text
from flare_eval.reports.summary import Summary, markdown_row, markdown_table

_METRICS: Final = ("dsc", "nsd")
_NOTHING: Final = "-"
_LATEX: Final = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$"}
)
"""What stands in LaTeX for the characters that it would read as commands or set as others."""

_Cells: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One line: a target, and for each metric mean and standard deviation in percent."""

    target: str
    means: tuple[float | None, ...]
    sds: tuple[float | None, ...]


def table_3(summary: Summary) -> dict[str, str]:
    """Mean and standard deviation over cases of each class, in percent: Markdown, CSV and LaTeX, by a file's ending.

    In the averages, as in the paper, the mean is that of class means and the deviation that of class deviations. In the
    CSV, what does not exist is empty.
    """
    rows = _rows(summary)
    cells = [(row.target, *(_with_sd(*pair) for pair in zip(row.means, row.sds, strict=True))) for row in rows]
    numbers = [
        (row.target, *(_bare(value) for pair in zip(row.means, row.sds, strict=True) for value in pair)) for row in rows
    ]
    header = ("target", *(f"{metric}_{what}" for metric in _METRICS for what in ("mean", "sd")))
    return _formats([("Target", "DSC (%)", "NSD (%)"), *cells], csv_text(header, numbers))


def table_4(summaries: Mapping[str, Summary]) -> dict[str, str]:
    """Mean of each class of several submissions, by their names, side by side; formats as of `table_3`."""
    tables = zip(*(_rows(summary) for summary in summaries.values()), strict=True)
    numbers = [(rows[0].target, *(_bare(mean) for row in rows for mean in row.means)) for rows in tables]
    columns = [(name, metric) for name in summaries for metric in _METRICS]
    header = ("Target", *(f"{name} {metric.upper()} (%)" for name, metric in columns))
    cells = [tuple(cell or _NOTHING for cell in row) for row in numbers]
    return _formats([header, *cells], csv_text(("target", *(f"{name}_{metric}" for name, metric in columns)), numbers))


def table_5(runs: Sequence[CaseRun]) -> str:
    """Time and memory of each case as Markdown, with main memory beside it; empty cells were not measured."""
    lines = [
        "| Case ID | Image Size | Running Time (s) | Max GPU (MB) | Total GPU (MB) | Max RAM (MB) | GPU before (MB) |",
        "|:---|:---|---:|---:|---:|---:|---:|",
    ]
    for run in runs:
        size = f"({', '.join(run.size.split('x'))})" if run.size else ""
        seconds = "" if run.seconds is None else f"{run.seconds:.2f}"
        memory_mb = (run.gpu_max_mb, run.gpu_area_mb_s, run.ram_max_mb, run.gpu_before_mb)
        numbers = ("" if value is None else f"{value:.0f}" for value in memory_mb)
        lines.append(markdown_row((run.case, size, seconds, *numbers)))
    return "\n".join(lines) + "\n"


def _formats(table: Sequence[_Cells], csv: str) -> dict[str, str]:
    """A table, its header first, by ending of a file; `csv` is its CSV."""
    header, *rows = table
    return {"md": "\n".join(markdown_table(header, rows)) + "\n", "csv": csv, "tex": _latex(table)}


def _latex(table: Sequence[_Cells]) -> str:
    """A table, its header first, as a `tabular`: the first column is aligned to the left, the others to the right."""
    header, *rows = (" & ".join(cell.translate(_LATEX) for cell in row) + r" \\" for row in table)
    begin = r"\begin{tabular}{l" + "r" * (len(table[0]) - 1) + "}"
    return "\n".join([begin, r"\hline", header, r"\hline", *rows, r"\hline", r"\end{tabular}"]) + "\n"


def _rows(summary: Summary) -> list[_Row]:
    rows = [
        _Row(
            target=summary.label_set.names[code].capitalize(),
            means=tuple(_percent(summary.mean(code, metric)) for metric in _METRICS),
            sds=tuple(_percent(summary.sd(code, metric)) for metric in _METRICS),
        )
        for code in summary.label_set.codes
    ]
    for target, codes in (("Average organ", summary.label_set.organs), ("Average", summary.label_set.codes)):
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
