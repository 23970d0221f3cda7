"""Statistics of scores: bootstrap intervals of means, and paired tests of the difference between two submissions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from flare_eval.accuracy.scores import CaseScores
from flare_infer import labels

METRICS: Final = ("dsc", "nsd")
LEVEL: Final = 0.95
RESAMPLES: Final = 5000
_SEED: Final = 20230713
_LEAST_CASES: Final = 2


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval, from `low` to `high`."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.4f}, {self.high:.4f}]"


def mean_interval(scores: npt.NDArray[np.float64]) -> Interval | None:
    """95 % percentile interval of the mean of class means, from cases drawn with replacement.

    The draw is the same in every run. A draw that lacks every case of a class leaves that class out.

    Args:
        scores: one row for each case, one column for each class; NaN where a class was not scored.

    Returns:
        the interval; None with fewer than two cases that have a score.
    """
    scored = scores[~np.isnan(scores).all(axis=1)]
    count = len(scored)
    if count < _LEAST_CASES:
        return None
    rng = np.random.default_rng(_SEED)
    times_drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)
    known = ~np.isnan(scored)
    totals = times_drawn @ np.where(known, scored, 0.0)
    counts = times_drawn @ known
    means = np.divide(totals, counts, out=np.zeros_like(totals), where=counts > 0)
    classes = (counts > 0).sum(axis=1)
    drawn = means.sum(axis=1)[classes > 0] / classes[classes > 0]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(low=float(low), high=float(high))


def score_matrix(cases: Sequence[CaseScores], codes: Sequence[int], metric: str) -> npt.NDArray[np.float64]:
    """Scores as `mean_interval` takes them, shape (cases, codes); `metric` is "dsc" or "nsd"."""
    rows = [[getattr(case, metric).get(code, np.nan) for code in codes] for case in cases]
    return np.array(rows, dtype=np.float64).reshape(len(cases), len(codes))


@dataclass(frozen=True, kw_only=True)
class PairedResult:
    """The difference of two submissions in one class and metric, over the cases that both have scored.

    Attributes:
        code: code of the class.
        metric: "dsc" or "nsd".
        cases: number of cases.
        difference: mean difference, second submission minus first.
        interval: bootstrap interval of that mean; None with fewer than two cases.
        p: two-sided p-value of the Wilcoxon signed-rank test; 1 if no case differs.
        p_holm: p-value after Holm's correction for the classes of this metric.
    """

    code: int
    metric: str
    cases: int
    difference: float
    interval: Interval | None
    p: float
    p_holm: float


def compare_paired(first: Sequence[CaseScores], second: Sequence[CaseScores]) -> tuple[PairedResult, ...]:
    """Compare two submissions class by class, DSC before NSD; classes without a common case are left out."""
    of_second = {case.case: case for case in second}
    pairs = [(case, of_second[case.case]) for case in first if case.case in of_second]
    results: list[PairedResult] = []
    for metric in METRICS:
        columns = {code: _values(pairs, code, metric) for code in labels.CODES}
        columns = {code: values for code, values in columns.items() if len(values)}
        p = {code: wilcoxon_p(values[:, 1] - values[:, 0]) for code, values in columns.items()}
        corrected = holm(p)
        for code, values in columns.items():
            differences = values[:, 1] - values[:, 0]
            results.append(
                PairedResult(
                    code=code,
                    metric=metric,
                    cases=len(values),
                    difference=float(differences.mean()),
                    interval=mean_interval(differences[:, np.newaxis]),
                    p=p[code],
                    p_holm=corrected[code],
                )
            )
    return tuple(results)


def wilcoxon_p(differences: npt.NDArray[np.float64]) -> float:
    """Two-sided p-value of the signed-rank test, without the cases that do not differ; 1 if none is left."""
    nonzero = differences[differences != 0]
    return float(stats.wilcoxon(nonzero).pvalue) if len(nonzero) else 1.0


def holm(p: Mapping[int, float]) -> dict[int, float]:
    """The p-values after Holm's step-down correction; every entry of `p` is one test."""
    corrected = {}
    largest = 0.0
    for rank, (key, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, value * (len(p) - rank)))
        corrected[key] = largest
    return corrected


def _values(pairs: Sequence[tuple[CaseScores, CaseScores]], code: int, metric: str) -> npt.NDArray[np.float64]:
    """The scores of the first and the second submission, shape (cases, 2), of the cases where both have one."""
    found = [(getattr(one, metric).get(code, np.nan), getattr(other, metric).get(code, np.nan)) for one, other in pairs]
    values = np.array(found, dtype=np.float64).reshape(-1, 2)
    return values[~np.isnan(values).any(axis=1)]
