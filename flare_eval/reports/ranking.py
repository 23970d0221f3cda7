"""The challenge's ranking: a rank for each case and metric, averaged over cases, then over metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

from flare_eval.accuracy.scores import CaseScores
from flare_eval.reports.submission import Submission
from flare_infer import labels
from flare_infer.errors import UsageError

_Value: TypeAlias = Callable[[Submission, str], float]

_WORST: Final = np.inf  # values are costs: less is better
_SEED: Final = 20230713


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """Which costs count as equally good.

    Attributes:
        seconds: running times up to this many seconds count as equal; None compares the times as they are.
        gpu_mb: a case that never takes more GPU memory than this, in MB, has the area 0; None compares all areas.
    """

    seconds: float | None = None
    gpu_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The ranks of several submissions.

    Attributes:
        names: names of the submissions, the best first.
        ranks: mean rank over cases, 1 is best, by metric that counted, then by name of the submission.
        overall: mean rank over the metrics, by name of the submission.
        cases: names of the cases that were ranked.
        stability: how often each submission comes first, 0..1, when cases are drawn with replacement.
    """

    names: tuple[str, ...]
    ranks: Mapping[str, Mapping[str, float]]
    overall: Mapping[str, float]
    cases: tuple[str, ...]
    stability: Mapping[str, float]


def rank(submissions: Sequence[Submission], tolerances: Tolerances | None = None, resamples: int = 1000) -> Ranking:
    """Rank submissions by up to six metrics: organ and tumor DSC and NSD, seconds, area under the GPU memory curve.

    Equal values share the mean of their ranks. A case that a submission lacks, or where its score is NaN, is its worst.
    A metric counts if every submission has it for some case; tumor is left out where no case annotates it.

    Args:
        submissions: the submissions.
        tolerances: which costs count as equally good; by default only equal ones do.
        resamples: number of bootstrap draws of the cases for `Ranking.stability`.

    Raises:
        UsageError: if there are fewer than two submissions, two of one name, or no metric that all of them have.
    """
    names = [submission.name for submission in submissions]
    if len(set(names)) < max(2, len(names)):
        raise UsageError(f"expected at least two submissions of different names, found {', '.join(names) or 'none'}")
    cases = tuple(sorted({case for submission in submissions for case in (*submission.scores, *submission.efficiency)}))
    costs = {}
    for metric, value in _metrics(tolerances or Tolerances()).items():
        table = np.array([[value(submission, case) for case in cases] for submission in submissions])
        known = ~np.isnan(table).all(axis=0)  # cases for which a submission has a value
        if known.any() and not np.isnan(table).all(axis=1).any():
            costs[metric] = np.where(np.isnan(table), np.where(known, _WORST, np.nan), table)
    if not costs:
        raise UsageError(f"{', '.join(names)}: no metric that all of them have; score them on the same cases first")
    per_case = {metric: _ranks(table) for metric, table in costs.items()}
    means = {metric: np.nanmean(table, axis=1) for metric, table in per_case.items()}
    overall = dict(zip(names, np.mean(list(means.values()), axis=0).tolist(), strict=True))
    return Ranking(
        names=tuple(sorted(names, key=lambda name: overall[name])),
        ranks={metric: dict(zip(names, values.tolist(), strict=True)) for metric, values in means.items()},
        overall=overall,
        cases=cases,
        stability=dict(zip(names, _firsts(list(per_case.values()), resamples).tolist(), strict=True)),
    )


def _ranks(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks of the submissions (rows) in each case (column); a case without any value stays NaN."""
    ranks = np.full(costs.shape, np.nan)
    known = ~np.isnan(costs).any(axis=0)
    ranks[:, known] = stats.rankdata(costs[:, known], method="average", axis=0)
    return ranks


def _firsts(per_case: Sequence[npt.NDArray[np.float64]], resamples: int) -> npt.NDArray[np.float64]:
    """How often each submission (row) comes first over drawn cases, 0..1; a shared first place is divided."""
    rng = np.random.default_rng(_SEED)
    count = per_case[0].shape[1]
    times_drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
    overall = np.zeros((resamples, len(per_case[0])))
    for table in per_case:
        known = ~np.isnan(table[0])
        drawn = times_drawn[:, known]
        total = drawn.sum(axis=1, keepdims=True)
        overall += np.divide(drawn @ table[:, known].T, total, out=np.zeros_like(overall), where=total > 0)
    best = np.isclose(overall, overall.min(axis=1, keepdims=True))
    firsts = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return np.asarray(firsts, dtype=np.float64)


def _metrics(tolerances: Tolerances) -> dict[str, _Value]:
    """By metric, the function that gives the cost of a case of a submission: less is better, NaN is no value."""
    return {
        "organ DSC": lambda submission, case: -_organs(submission, case, "dsc"),
        "organ NSD": lambda submission, case: -_organs(submission, case, "nsd"),
        "tumor DSC": lambda submission, case: -_tumor(submission, case, "dsc"),
        "tumor NSD": lambda submission, case: -_tumor(submission, case, "nsd"),
        "seconds": lambda submission, case: _seconds(submission, case, tolerances.seconds),
        "GPU area": lambda submission, case: _gpu_area(submission, case, tolerances.gpu_mb),
    }


def _organs(submission: Submission, case: str, metric: str) -> float:
    values = [value for code, value in _values(submission, case, metric).items() if code in labels.ORGANS]
    return float(np.mean(values)) if values else np.nan


def _tumor(submission: Submission, case: str, metric: str) -> float:
    return _values(submission, case, metric).get(labels.TUMOR, np.nan)


def _values(submission: Submission, case: str, metric: str) -> Mapping[int, float]:
    scores: CaseScores | None = submission.scores.get(case)
    return {} if scores is None else getattr(scores, metric)


def _seconds(submission: Submission, case: str, tolerance: float | None) -> float:
    run = submission.efficiency.get(case)
    if run is None or run.seconds is None:
        return np.nan
    return max(run.seconds, tolerance or 0.0)


def _gpu_area(submission: Submission, case: str, tolerance: float | None) -> float:
    run = submission.efficiency.get(case)
    if run is None or run.gpu_area_mb_s is None:
        return np.nan
    if tolerance is not None and run.gpu_max_mb is not None and run.gpu_max_mb <= tolerance:
        return 0.0
    return run.gpu_area_mb_s
