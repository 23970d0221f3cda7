"""How sure a mean is: bootstrap confidence intervals over cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from flare_eval.scores import CaseScores

LEVEL: Final = 0.95
RESAMPLES: Final = 5000
_SEED: Final = 20230713
_LEAST_CASES: Final = 2


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.4f}, {self.high:.4f}]"


def mean_interval(scores: npt.NDArray[np.float64]) -> Interval | None:
    """95 % percentile interval of the mean of class means, from cases drawn with replacement.

    The draw is the same in every run. A draw that lacks every case of a class leaves that class out.

    Args:
        scores: one row a case, one column a class; NaN where a class was not scored.

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
    """Scores as `mean_interval` wants them; `metric` is "dsc" or "nsd"."""
    rows = [[getattr(case, metric).get(code, np.nan) for code in codes] for case in cases]
    return np.array(rows, dtype=np.float64).reshape(len(cases), len(codes))
