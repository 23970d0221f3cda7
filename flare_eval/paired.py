"""Two submissions on the same cases: is the difference more than chance?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from flare_eval.confidence import Interval, mean_interval
from flare_eval.scores import CaseScores
from flare_infer import labels

METRICS: Final = ("dsc", "nsd")


@dataclass(frozen=True, kw_only=True)
class PairedResult:
    """One class and metric of two submissions, over the cases that both have scored.

    Attributes:
        code: the class.
        metric: "dsc" or "nsd".
        cases: how many cases.
        difference: mean of the second minus the first.
        interval: bootstrap interval of that mean; None with fewer than two cases.
        p: two-sided p of the Wilcoxon signed-rank test; 1 where no case differs.
        p_holm: p after Holm's correction for the classes of this metric.
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


def wilcoxon_p(differences: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Two-sided p of the signed-rank test; cases without a difference are dropped, and 1 is given if none is left."""
    nonzero = differences[differences != 0]
    return float(stats.wilcoxon(nonzero).pvalue) if len(nonzero) else 1.0


def holm(p: Mapping[int, float]) -> dict[int, float]:
    """Holm's step-down correction: as many tests as there are entries."""
    corrected = {}
    largest = 0.0
    for rank, (key, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, value * (len(p) - rank)))
        corrected[key] = largest
    return corrected


def _values(
    pairs: Sequence[tuple[CaseScores, CaseScores]], code: int, metric: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """One row a case: first and second; only where both are numbers."""
    found = [(getattr(one, metric).get(code, np.nan), getattr(other, metric).get(code, np.nan)) for one, other in pairs]
    values = np.array(found, dtype=np.float64).reshape(-1, 2)
    return values[~np.isnan(values).any(axis=1)]
