"""The scores of cases and folders, as records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flare_eval.accuracy.classes import CHALLENGE, ScoredClasses
from flare_eval.accuracy.lesions import CaseLesions
from flare_eval.accuracy.mode import Mode


@dataclass(frozen=True, kw_only=True)
class CaseScores:
    """The scores of one case.

    Attributes:
        case: name of the case.
        dsc: DSC, 0..1, by code, of each class that counts: those that are annotated and that the model learned.
        nsd: NSD, 0..1, by code, of the same classes.
        untrained: codes of classes that are annotated, but left out because the model never learned them.
        missing: whether there is no prediction that can be scored, so that every class scores 0.
        damaged: why the prediction that is there cannot be scored, in one line; empty if it can, or if there is none.
        reference_ml: volume of each of these classes in the reference, in milliliters, by code; empty if it is unknown.
        lesions: its tumors one by one; None if the class tumor was not scored, or the reference cannot be read.
    """

    case: str
    dsc: Mapping[int, float]
    nsd: Mapping[int, float] = field(default_factory=dict)
    untrained: tuple[int, ...] = ()
    missing: bool = False
    damaged: str = ""
    reference_ml: Mapping[int, float] = field(default_factory=dict)
    lesions: CaseLesions | None = None


@dataclass(frozen=True, kw_only=True)
class FolderScores:
    """The scores of a folder.

    Attributes:
        predictions: folder of the predictions.
        references: folder of the references.
        annotated_from: file in which the annotated classes were read; None if all classes counted in every case.
        untrained: codes of classes that the model never learned.
        cases: scores of each case, including those whose prediction is missing or damaged.
        failed: why a case could not be scored, its prediction not being the cause, in one line, by case name; these
            cases are in no mean.
        unmatched: case names of the predictions without a reference.
        mode: rules by which they were scored.
        classes: the classes.
    """

    predictions: Path
    references: Path
    annotated_from: Path | None
    untrained: tuple[int, ...]
    cases: tuple[CaseScores, ...]
    failed: Mapping[str, str]
    unmatched: tuple[str, ...]
    mode: Mode = Mode.FIXED
    classes: ScoredClasses = CHALLENGE

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the cases without a prediction that can be scored."""
        return tuple(scores.case for scores in self.cases if scores.missing)

    @property
    def complete(self) -> bool:
        """Whether every reference had a prediction that could be scored."""
        return not self.failed and not self.missing
