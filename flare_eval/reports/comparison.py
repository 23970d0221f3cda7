"""Several submissions on the same cases in one report: accuracy, differences, efficiency and ranks."""

from collections.abc import Sequence
from typing import Final

from flare_eval.efficiency.case_run import mean_of
from flare_eval.reports.paper_tables import table_4
from flare_eval.reports.ranking import Ranking, Tolerances, rank
from flare_eval.reports.results import Result
from flare_eval.reports.significance import PairedResult, compare_paired
from flare_eval.reports.summary import Summary, intervals_of, markdown_row, summarize_cases
from flare_infer import labels
from flare_infer.errors import UsageError

_COSTS: Final = {
    "seconds": ("seconds", 2),
    "max RAM (MB)": ("ram_max_mb", 0),
    "GPU before (MB)": ("gpu_before_mb", 0),
    "max GPU (MB)": ("gpu_max_mb", 0),
    "GPU area, official (MB*s)": ("gpu_area_mb_s", 0),
    "GPU area, time-weighted (MB*s)": ("gpu_area_weighted_mb_s", 0),
}
"""Columns of the table of efficiency: field of a run, and decimals."""


def common_cases(results: Sequence[Result]) -> tuple[str, ...]:
    """The cases that every submission has scored.

    Raises:
        UsageError: if there are none, although every submission has scores.
    """
    scored = [set(result.scores) for result in results if result.scores]
    common = set.intersection(*scored) if scored else set()
    if len(scored) == len(results) and not common:
        raise UsageError(f"{', '.join(result.name for result in results)}: no case that all of them have scored")
    return tuple(sorted(common))


def summaries_of(results: Sequence[Result]) -> dict[str, Summary]:
    """By name of the submission its scores over the common cases, so that means compare."""
    common = common_cases(results)
    return {
        result.name: summarize_cases([result.scores[case] for case in common]) for result in results if result.scores
    }


def comparison(results: Sequence[Result], tolerances: Tolerances | None = None) -> str:
    """The report as Markdown.

    Accuracy is that of the cases which all submissions have; differences are those from the first submission.

    Raises:
        UsageError: if there are fewer than two submissions, two of one name, or nothing to compare them by.
    """
    ranking = rank(results, tolerances)  # first: it refuses what cannot be compared
    common = common_cases(results)
    lines = [f"# {' against '.join(result.name for result in results)}", ""]
    if common:
        lines += [f"## Accuracy, {len(common)} common case(s)", "", table_4(summaries_of(results))]
        lines += [*_intervals(results, common), ""]
        first, *others = (result for result in results if result.scores)
        for other in others:
            lines += [*paired_section(first, other), ""]
    if any(result.efficiency for result in results):
        lines += ["## Efficiency, means over cases", "", *_efficiency(results), ""]
    lines += ["## Ranks", "", *ranking_table(ranking), ""]
    return "\n".join(lines)


def paired_section(first: Result, second: Result) -> list[str]:
    """Differences of two submissions by class, as lines of Markdown."""
    lines = [
        f"## {second.name} minus {first.name}",
        "",
        "Wilcoxon signed-rank test over the cases that both have scored; p (Holm) is corrected for the classes.",
        "",
        markdown_row(("class", "name", "metric", "cases", "difference", "95 % interval", "p", "p (Holm)")),
        markdown_row(("---:", ":---", ":---", *["---:"] * 5)),
    ]
    cases = (tuple(first.scores.values()), tuple(second.scores.values()))
    return lines + [markdown_row(_paired_cells(result)) for result in compare_paired(*cases)]


def ranking_table(ranking: Ranking) -> list[str]:
    """The ranks as lines of Markdown, the best submission first."""
    lines = [
        markdown_row(("submission", *ranking.ranks, "overall", "first in")),
        markdown_row((":---", *["---:"] * (len(ranking.ranks) + 2))),
    ]
    for name in ranking.names:
        ranks = [f"{by_name[name]:.3f}" for by_name in ranking.ranks.values()]
        lines.append(markdown_row((name, *ranks, f"{ranking.overall[name]:.3f}", f"{ranking.stability[name]:.0%}")))
    return [*lines, "", f"Mean ranks over {len(ranking.cases)} case(s); `first in`: share of bootstrap draws of cases."]


def _intervals(results: Sequence[Result], common: Sequence[str]) -> list[str]:
    by_name = {
        result.name: intervals_of([result.scores[case] for case in common]) for result in results if result.scores
    }
    names = list(next(iter(by_name.values())))
    lines = [
        "95 % bootstrap intervals over cases:",
        "",
        markdown_row(("submission", *names)),
        markdown_row((":---", *["---:"] * len(names))),
    ]
    return lines + [
        markdown_row((name, *("-" if interval is None else str(interval) for interval in intervals.values())))
        for name, intervals in by_name.items()
    ]


def _efficiency(results: Sequence[Result]) -> list[str]:
    lines = [
        markdown_row(("submission", "cases", "failed", *_COSTS)),
        markdown_row((":---", *["---:"] * (len(_COSTS) + 2))),
    ]
    for result in results:
        runs = tuple(result.efficiency.values())
        means = [(mean_of(runs, field), decimals) for field, decimals in _COSTS.values()]
        numbers = ["" if mean is None else f"{mean:.{decimals}f}" for mean, decimals in means]
        lines.append(markdown_row((result.name, str(len(runs)), str(sum(not run.ok for run in runs)), *numbers)))
    return [*lines, "", "Empty: not measured."]


def _paired_cells(result: PairedResult) -> tuple[str, ...]:
    interval = "-" if result.interval is None else str(result.interval)
    return (
        str(result.code),
        labels.NAMES[result.code],
        result.metric.upper(),
        str(result.cases),
        f"{result.difference:+.4f}",
        interval,
        f"{result.p:.3g}",
        f"{result.p_holm:.3g}",
    )
