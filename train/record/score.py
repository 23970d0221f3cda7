"""What a validation says of a network, and which of a run is the best (docs/paper.md, Choice of the checkpoint)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from flare_infer.labels import CODES, ORGANS, TUMOR


@dataclass(frozen=True, kw_only=True)
class Score:
    """Means over validation cases; None where nothing could be judged.

    Attributes:
        dice: mean DSC of each class, over the cases in which it was judged; the others are left out.
        organs: mean over the organs.
        tumor: that of the tumor.
        score: mean of `organs` and `tumor`, or whichever there is.
    """

    dice: Mapping[int, float]
    organs: float | None
    tumor: float | None
    score: float | None


def mean_score(cases: Sequence[Mapping[int, float]]) -> Score:
    """The score of some cases.

    Args:
        cases: the DSC of every class that was judged in each.
    """
    dice = {}
    for code in CODES:
        judged = [case[code] for case in cases if code in case]
        if judged:
            dice[code] = sum(judged) / len(judged)
    organs = _mean(dice[code] for code in ORGANS if code in dice)
    tumor = dice.get(TUMOR)
    return Score(
        dice=dice, organs=organs, tumor=tumor, score=_mean(part for part in (organs, tumor) if part is not None)
    )


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a run stands after its validations.

    Attributes:
        step: steps done when it was validated last; 0 before the first time.
        mean: exponential mean of the scores, beginning with the first one; None before there is one.
        best: its highest value so far.
        best_step: steps done when it was reached; 0 before there is one.
    """

    step: int = 0
    mean: float | None = None
    best: float | None = None
    best_step: int = 0

    def after(self, step: int, score: float | None, keeps: float) -> Self:
        """The standing after one more validation; where nothing could be judged only its step counts."""
        if score is None:
            return replace(self, step=step)
        mean = score if self.mean is None else keeps * self.mean + (1 - keeps) * score
        if self.best is not None and mean <= self.best:
            return replace(self, step=step, mean=mean)
        return replace(self, step=step, mean=mean, best=mean, best_step=step)

    @property
    def is_best(self) -> bool:
        """Whether the last validation is the best so far."""
        return self.best is not None and self.step == self.best_step

    def to_plain(self) -> dict[str, Any]:
        """Its fields, as a checkpoint keeps them."""
        return dict(vars(self))
