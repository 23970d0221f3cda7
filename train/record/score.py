"""The score of a validation, and which network of a run is the best (docs/paper.md, Choice of the checkpoint)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from flare_infer.label_set import FLARE23, LabelSet


@dataclass(frozen=True, kw_only=True)
class Score:
    """Mean DSC over validation cases; None where no case could be judged.

    Attributes:
        dice: mean DSC by code over the cases in which the class was judged; classes never judged are left out.
        organs: mean of the organs in `dice`: of all its classes that are no lesions.
        tumor: DSC of tumor, or mean of the classes of lesions in `dice`.
        score: mean of `organs` and `tumor`, or the one that is not None.
    """

    dice: Mapping[int, float]
    organs: float | None
    tumor: float | None
    score: float | None


def mean_score(cases: Sequence[Mapping[int, float]], label_set: LabelSet = FLARE23) -> Score:
    """The score of some cases.

    Args:
        cases: for each case the DSC of every judged class by code.
        label_set: the classes.
    """
    dice = {}
    for code in label_set.codes:
        judged = [case[code] for case in cases if code in case]
        if judged:
            dice[code] = sum(judged) / len(judged)
    organs = _mean(dice[code] for code in label_set.organs if code in dice)
    tumor = _mean(dice[code] for code in label_set.lesion_codes if code in dice)
    return Score(
        dice=dice, organs=organs, tumor=tumor, score=_mean(part for part in (organs, tumor) if part is not None)
    )


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The results of a run's validations so far.

    Attributes:
        step: number of steps done at the last validation; 0 before the first one.
        mean: exponential mean of the scores, which starts with the first score; None before that.
        best: highest exponential mean so far; None before the first score.
        best_step: number of steps done when it was reached; 0 before that.
    """

    step: int = 0
    mean: float | None = None
    best: float | None = None
    best_step: int = 0

    def after(self, step: int, score: float | None, keeps: float) -> Self:
        """The standing after one more validation.

        Args:
            step: number of steps done at that validation.
            score: its score; None if no class could be judged, in which case only `step` changes.
            keeps: weight of the previous exponential mean.
        """
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
