"""The challenge's ranking: a rank for each case and metric, averaged over cases, then over metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

from flare_eval.accuracy.scores import CaseScores
from flare_eval.reports.results import Result
from flare_infer import labels
from flare_infer.errors import UsageError

_Value: TypeAlias = Callable[[Result, str], float]

_WORST: Final = np.inf  # values are costs: less is better
_SEED: Final = 20230713


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """What counts as equally good; None, the default, is off.

    Attributes:
        seconds: running times up to this are equal.
        gpu_mb: a case that never takes more GPU memory than this has no area.
    """

    seconds: float | None = None
    gpu_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The ranks of several submissions.

    Attributes:
        names: the submissions, best first.
        ranks: mean rank by metric, then by submission; 1 is best. Metrics that no submission has are not there.
        overall: mean over the metrics, by submission.
        cases: the cases ranked.
        stability: how often each submission comes first, 0..1, when cases are drawn with replacement.
    """

    names: tuple[str, ...]
    ranks: Mapping[str, Mapping[str, float]]
    overall: Mapping[str, float]
    cases: tuple[str, ...]
    stability: Mapping[str, float]


def rank(results: Sequence[Result], tolerances: Tolerances | None = None, resamples: int = 1000) -> Ranking:
    """Rank submissions by up to six metrics: organ and tumor DSC and NSD, seconds, area under the GPU memory curve.

    Equal values share the mean of their ranks. A case that a submission lacks, or where its score is NaN, is its worst.
    A metric counts if every submission has it for some case; tumor is left out where no case annotates it.

    Args:
        results: the submissions.
        tolerances: what counts as equal; nothing by default.
        resamples: draws for the stability of the order.

    Raises:
        UsageError: if there are fewer than two submissions, two of one name, or no metric that all of them have.
    """
    names = [result.name for result in results]
    if len(set(names)) < max(2, len(names)):
        raise UsageError(f"expected at least two submissions of different names, found {', '.join(names) or 'none'}")
    cases = tuple(sorted({case for result in results for case in (*result.scores, *result.efficiency)}))
    costs = {}
    for metric, value in _metrics(tolerances or Tolerances()).items():
        table = np.array([[value(result, case) for case in cases] for result in results])
        some = ~np.isnan(table).all(axis=0)  # cases where somebody has a value
        if some.any() and not np.isnan(table).all(axis=1).any():
            costs[metric] = np.where(np.isnan(table), np.where(some, _WORST, np.nan), table)
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
    """Ranks within each column; a column without any value stays NaN."""
    ranks = np.full(costs.shape, np.nan)
    some = ~np.isnan(costs).any(axis=0)
    ranks[:, some] = stats.rankdata(costs[:, some], method="average", axis=0)
    return ranks


def _firsts(per_case: Sequence[npt.NDArray[np.float64]], resamples: int) -> npt.NDArray[np.float64]:
    """How often each row has the best mean over drawn cases; a shared first place is divided."""
    rng = np.random.default_rng(_SEED)
    submissions, count = per_case[0].shape
    firsts = np.zeros(submissions)
    times_drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
    overall = np.zeros((resamples, submissions))
    for table in per_case:
        known = ~np.isnan(table[0])
        drawn = times_drawn[:, known]
        total = drawn.sum(axis=1, keepdims=True)
        overall += np.divide(drawn @ table[:, known].T, total, out=np.zeros_like(overall), where=total > 0)
    best = np.isclose(overall, overall.min(axis=1, keepdims=True))
    firsts = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return np.asarray(firsts, dtype=np.float64)


def _metrics(tolerances: Tolerances) -> dict[str, _Value]:
    """By metric what a submission's case costs; NaN where it has no value."""
    return {
        "organ DSC": lambda result, case: -_organs(result, case, "dsc"),
        "organ NSD": lambda result, case: -_organs(result, case, "nsd"),
        "tumor DSC": lambda result, case: -_tumor(result, case, "dsc"),
        "tumor NSD": lambda result, case: -_tumor(result, case, "nsd"),
        "seconds": lambda result, case: _seconds(result, case, tolerances.seconds),
        "GPU area": lambda result, case: _gpu_area(result, case, tolerances.gpu_mb),
    }


def _organs(result: Result, case: str, metric: str) -> float:
    values = [value for code, value in _values(result, case, metric).items() if code in labels.ORGANS]
    return float(np.mean(values)) if values else np.nan


def _tumor(result: Result, case: str, metric: str) -> float:
    return _values(result, case, metric).get(labels.TUMOR, np.nan)


def _values(result: Result, case: str, metric: str) -> Mapping[int, float]:
    scores: CaseScores | None = result.scores.get(case)
    return {} if scores is None else getattr(scores, metric)


def _seconds(result: Result, case: str, tolerance: float | None) -> float:
    run = result.efficiency.get(case)
    if run is None or run.seconds is None:
        return np.nan
    return max(run.seconds, tolerance or 0.0)


def _gpu_area(result: Result, case: str, tolerance: float | None) -> float:
    run = result.efficiency.get(case)
    if run is None or run.gpu_area_mb_s is None:
        return np.nan
    if tolerance is not None and run.gpu_max_mb is not None and run.gpu_max_mb <= tolerance:
        return 0.0
    return run.gpu_area_mb_s
