"""The plan of a painted cohort."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flare_infer import labels
from flare_infer.errors import SpecError
from flare_infer.geometry import Spacing
from train.synth.tissue import USUAL_PHASES


@dataclass(frozen=True, kw_only=True)
class CaseGroup:
    """Cases that annotate the same classes.

    Attributes:
        name: prefix of the names of its cases.
        annotated: codes that its cases annotate; all other labels are withheld.
        cases: number of cases.
    """

    name: str
    annotated: tuple[int, ...]
    cases: int

    def __post_init__(self) -> None:
        if self.cases < 0 or not self.annotated or not set(self.annotated) <= set(labels.CODES):
            raise SpecError(f"a group needs classes of {labels.CODES[0]}..{labels.CODES[-1]}, found {self}")


GROUPS: Final = (
    CaseGroup(name="full", annotated=labels.ORGANS, cases=6),
    CaseGroup(name="abdomen", annotated=(labels.LIVER, *labels.KIDNEYS, labels.SPLEEN, labels.PANCREAS), cases=4),
    CaseGroup(name="liver", annotated=(labels.LIVER, labels.TUMOR), cases=4),
    CaseGroup(name="kidneys", annotated=(*labels.KIDNEYS, labels.TUMOR), cases=4),
    CaseGroup(name="pancreas", annotated=(labels.PANCREAS, labels.TUMOR), cases=3),
    CaseGroup(name="spleen", annotated=(labels.SPLEEN,), cases=2),
    CaseGroup(name="tumor", annotated=(labels.TUMOR,), cases=7),
)
"""The challenge's structure: few cases with all organs, none of them with tumors; single organs; tumors alone."""


@dataclass(frozen=True, kw_only=True)
class TumorMaps:
    """A folder of label maps that tumors are cut out of.

    Attributes:
        folder: name of the folder among the maps.
        code: value of tumor in its label maps.
        hosts: codes of the organs that these tumors may be placed into.
    """

    folder: str
    code: int
    hosts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class CohortPlan:
    """The plan of a cohort.

    Attributes:
        groups: groups of the cases that train.
        unlabeled: number of images without labels.
        validation: number of validation cases, completely annotated and of separate patients.
        patients: number of invented patients for training and unlabeled cases; with real maps, each map is a patient.
        spacing_mm: spacing of the painted grid along (z, y, x).
        seed: seed of all random numbers.
        most_tumors: largest number of tumors in a case with tumors.
        hidden_tumors: probability of tumors in a case that does not annotate them.
        tumor_free: probability that a case that annotates tumors has none.
        noisy: fraction of the training cases with annotated tumors that get false tumors.
        torso: whether to paint chest and pelvis, and in some cases ascites and a pelvic mass.
        benign: whether to paint renal sinus and pelvis, and cysts of kidneys and liver.
        phases: probabilities of the contrast phases, unenhanced, arterial and portal.
        anatomies: name of the folder of maps with liver, spleen, left kidney and more organs.
        tumors: folders of maps with tumors.
        shapes: number of maps that are read from each of these folders.
        smallest_tumor_ml: smallest volume in mL of a tumor that is used from these maps.
    """

    groups: tuple[CaseGroup, ...] = GROUPS
    unlabeled: int = 6
    validation: int = 6
    patients: int = 12
    spacing_mm: Spacing = (4.0, 4.0, 4.0)
    seed: int = 2023
    most_tumors: int = 3
    hidden_tumors: float = 0.3
    tumor_free: float = 0.0
    noisy: float = 0.0
    torso: bool = False
    benign: bool = False
    phases: tuple[float, float, float] = USUAL_PHASES
    anatomies: str = "organs8"
    tumors: tuple[TumorMaps, ...] = (
        TumorMaps(folder="liver_tumor", code=labels.TUMOR, hosts=(labels.LIVER, labels.PANCREAS)),
        TumorMaps(folder="kidney_tumor", code=2, hosts=labels.KIDNEYS),
    )
    shapes: int = 16
    smallest_tumor_ml: float = 0.3

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        if len(set(names)) < len(names) or {"unlabeled", "validation"} & set(names):
            raise SpecError(f"groups need names of their own, not unlabeled or validation; found {', '.join(names)}")
        if not sum(group.cases for group in self.groups) or min(self.unlabeled, self.validation) < 0:
            raise SpecError("a cohort needs at least one case that trains, and no negative counts")
        if min(self.patients, self.most_tumors, self.shapes) < 1 or not all(step > 0 for step in self.spacing_mm):
            raise SpecError(f"a cohort needs patients, tumors, shapes and spacings above zero, found {self}")
        if not all(0 <= chance <= 1 for chance in (self.noisy, self.hidden_tumors, self.tumor_free)) or self.seed < 0:
            raise SpecError("noisy, hidden_tumors and tumor_free are fractions, seed a whole number from 0 on")
        if min(self.phases) < 0 or not math.isclose(sum(self.phases), 1):
            raise SpecError(f"phases are probabilities that sum to 1, found {self.phases}")


def cohort_plan_of(cases: int, **changes: object) -> CohortPlan:
    """The default cohort with about `cases` training cases, at least one in each group.

    Args:
        cases: number of cases that train.
        changes: values of other fields of the plan.
    """
    whole = sum(group.cases for group in GROUPS)
    groups = tuple(
        CaseGroup(name=group.name, annotated=group.annotated, cases=max(1, round(cases * group.cases / whole)))
        for group in GROUPS
    )
    return CohortPlan(groups=groups, **changes)  # type: ignore[arg-type]


def label_maps_in(folder: Path) -> list[Path]:
    """The label maps of a folder, in alphabetical order; none if it does not exist."""
    return sorted(path for path in folder.glob("*.nii.gz") if not path.name.startswith("."))
