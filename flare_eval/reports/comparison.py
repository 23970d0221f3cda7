"""Several submissions on the same cases in one report: accuracy, differences, efficiency and ranks."""

from collections.abc import Sequence
from typing import Final

from flare_eval.efficiency.case_run import mean_of
from flare_eval.reports.paper_tables import table_4
from flare_eval.reports.ranking import Ranking, Tolerances, rank
from flare_eval.reports.significance import PairedResult, compare_paired
from flare_eval.reports.submission import Submission
from flare_eval.reports.summary import Summary, intervals_of, markdown_table, summarize_cases
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
"""Columns of the table of efficiency: heading, then field of `CaseRun` and number of decimals."""


def _common_cases(submissions: Sequence[Submission]) -> tuple[str, ...]:
    """Names of the cases in which every submission that has scores was scored.

    Raises:
        UsageError: if there is no such case, although all submissions have scores.
    """
    scored = [set(submission.scores) for submission in submissions if submission.scores]
    common = set.intersection(*scored) if scored else set()
    if len(scored) == len(submissions) and not common:
        raise UsageError(
            f"{', '.join(submission.name for submission in submissions)}: no case that all of them have scored"
        )
    return tuple(sorted(common))


def summaries_of(submissions: Sequence[Submission]) -> dict[str, Summary]:
    """By name of the submission, its scores over the cases that all have, so that their means can be compared."""
    common = _common_cases(submissions)
    return {
        submission.name: summarize_cases([submission.scores[case] for case in common])
        for submission in submissions
        if submission.scores
    }


def comparison(submissions: Sequence[Submission], tolerances: Tolerances | None = None) -> str:
    """The report as Markdown.

    Accuracy is over the cases that all submissions have; differences are those of the others from the first.

    Raises:
        UsageError: if there are fewer than two submissions, two of one name, or nothing to compare them by.
    """
    ranking = rank(submissions, tolerances)  # first: it refuses what cannot be compared
    common = _common_cases(submissions)
    lines = [f"# {' against '.join(submission.name for submission in submissions)}", ""]
    if common:
        lines += [f"## Accuracy, {len(common)} common case(s)", "", table_4(summaries_of(submissions))["md"]]
        lines += [*_intervals(submissions, common), ""]
        first, *others = (submission for submission in submissions if submission.scores)
        for other in others:
            lines += [*_paired_section(first, other), ""]
    if any(submission.efficiency for submission in submissions):
        lines += ["## Efficiency, means over cases", "", *_efficiency(submissions), ""]
    lines += ["## Ranks", "", *ranking_table(ranking), ""]
    return "\n".join(lines)


def _paired_section(first: Submission, second: Submission) -> list[str]:
    """Differences of two submissions by class, as lines of Markdown."""
    lines = [
        f"## {second.name} minus {first.name}",
        "",
        "Wilcoxon signed-rank test over the cases that both have scored; p (Holm) is corrected for the classes.",
        "",
    ]
    header = ("class", "name", "metric", "cases", "difference", "95 % interval", "p", "p (Holm)")
    results = compare_paired(tuple(first.scores.values()), tuple(second.scores.values()))
    return lines + markdown_table(header, [_paired_cells(result) for result in results], left=(1, 2))


def ranking_table(ranking: Ranking) -> list[str]:
    """The ranks as lines of Markdown, the best submission first."""
    rows = []
    for name in ranking.names:
        ranks = [f"{by_name[name]:.3f}" for by_name in ranking.ranks.values()]
        rows.append((name, *ranks, f"{ranking.overall[name]:.3f}", f"{ranking.stability[name]:.0%}"))
    lines = markdown_table(("submission", *ranking.ranks, "overall", "first in"), rows)
    return [*lines, "", f"Mean ranks over {len(ranking.cases)} case(s); `first in`: share of bootstrap draws of cases."]


def _intervals(submissions: Sequence[Submission], common: Sequence[str]) -> list[str]:
    by_name = {
        submission.name: intervals_of([submission.scores[case] for case in common])
        for submission in submissions
        if submission.scores
    }
    rows = [
        (name, *("-" if interval is None else str(interval) for interval in intervals.values()))
        for name, intervals in by_name.items()
    ]
    header = ("submission", *next(iter(by_name.values())))
    return ["95 % bootstrap intervals over cases:", "", *markdown_table(header, rows)]


def _efficiency(submissions: Sequence[Submission]) -> list[str]:
    rows = []
    for submission in submissions:
        runs = tuple(submission.efficiency.values())
        means = [(mean_of(runs, field), decimals) for field, decimals in _COSTS.values()]
        numbers = ["" if mean is None else f"{mean:.{decimals}f}" for mean, decimals in means]
        rows.append((submission.name, str(len(runs)), str(sum(not run.ok for run in runs)), *numbers))
    return [*markdown_table(("submission", "cases", "failed", *_COSTS), rows), "", "Empty: not measured."]


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
