"""What the protocol of the shipped weights is asked to do: the records behind its TOML file.

docs/examples/lite.toml is that file, with comments: every number behind `weights/lite`. Places are relative to the
folder the file lies in.
"""

from collections.abc import Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from flare_infer.errors import SpecError
from flare_infer.formats.volume_io import find_images
from train.export.average import Average
from train.problems import collected, raise_if_any
from train.protocol.assemble import Cases, expert_annotations
from train.protocol.config import Machine, Model, checked_record
from train.protocol.inspect_data import machine_problems, place_problems
from train.synth.cohort_plan import CohortPlan

FIRST: Final = "first"
"""The training that sees painted CTs alone, and the cohort that it sees."""

STUDENT: Final = "student"
"""The second training that learns from pseudo labels, too."""


@dataclass(frozen=True, kw_only=True)
class LiteData:
    """Where the data lie.

    Attributes:
        experts: folder of CTs, NAME_0000.nii.gz, of their label maps, NAME_labels.nii.gz, and of annotated.json.
        unlabeled: folder of CTs without labels, NAME_0000.nii.gz.
        maps: folder of label maps without CTs, to paint cohorts on; None if all are invented.
    """

    experts: Path
    unlabeled: Path
    maps: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Painted CTs.

    Attributes:
        plan: what they consist of.
        invented: whether bodies are invented instead of being painted on label maps.
    """

    plan: CohortPlan
    invented: bool = False

    @property
    def cases(self) -> int:
        """How many train."""
        return sum(group.cases for group in self.plan.groups)


@dataclass(frozen=True, kw_only=True)
class LiteConfig:
    """A whole pipeline of the protocol of the shipped weights.

    Attributes:
        protocol: lite.
        run: folder of everything it makes.
        data: where the data lie.
        cases: what is to be known of the real CTs.
        cohorts: painted CTs by name; the first training learns from `first`, the second ones from what they name.
        first: the model that learns from painted CTs alone.
        second: the models that go on from its weights with real CTs, too.
        experts: second trainings on labels of experts, and the painted cohorts beside the real CTs.
        student: painted cohorts of the second training that learns from pseudo labels, too; one of `experts` has the
            same.
        teacher: average of `experts` that labels the unlabeled CTs.
        shipped: average of `experts` and `student` that is wanted.
        machine: where it runs.
    """

    protocol: Literal["lite"]
    run: Path
    data: LiteData
    cases: Cases = field(default_factory=Cases)
    cohorts: dict[str, Cohort]
    first: Model
    second: Model
    experts: dict[str, tuple[str, ...]]
    student: tuple[str, ...]
    teacher: Average
    shipped: Average
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        unknown = {FIRST, *self.student, *(name for names in self.experts.values() for name in names)} - set(
            self.cohorts
        )
        if unknown:
            raise SpecError(f"cohorts: no {', '.join(sorted(unknown))} among {', '.join(self.cohorts)}")
        if {FIRST, STUDENT} & set(self.experts):
            raise SpecError(f"experts: {FIRST} and {STUDENT} are the names of other trainings")
        for name, average, known in (
            ("teacher", self.teacher, set(self.experts)),
            ("shipped", self.shipped, {*self.experts, STUDENT}),
        ):
            if not set(average.shares) <= known:
                raise SpecError(f"{name}.shares: trainings are {', '.join(sorted(known))}, found {average.shares}")
        if max(len(self.first.seeds), len(self.second.seeds)) > 1:
            raise SpecError("seeds: one at most for first and for second")
        if self.data.maps is None and not all(cohort.invented for cohort in self.cohorts.values()):
            raise SpecError("data.maps: missing; only cohorts with invented = true are painted without label maps")


@dataclass(frozen=True, kw_only=True)
class LiteCounts:
    """Numbers of cases, known before anything starts.

    Attributes:
        experts: CTs with expert labels that are learned from.
        unlabeled: CTs without labels.
        student: of these, those that are learned from.
    """

    experts: int
    unlabeled: int
    student: int


def read_lite_config(path: Path) -> LiteConfig:
    """Read a pipeline's file; places in it become absolute.

    Raises:
        UsageError: if it is no readable TOML file.
        ProblemsError: naming every field that is unknown, missing or wrong, those of changed recipes included.
    """
    config, folder = checked_record(LiteConfig, path, ("first", "second")), path.absolute().parent
    maps = None if config.data.maps is None else folder / config.data.maps
    data = LiteData(experts=folder / config.data.experts, unlabeled=folder / config.data.unlabeled, maps=maps)
    return replace(config, run=folder / config.run, data=data)


def inspect_lite_data(config: LiteConfig) -> LiteCounts:
    """Count the cases of a pipeline; voxels are not read.

    Raises:
        ProblemsError: naming everything that is missing or contradicts itself.
    """
    problems: list[str] = []
    annotated: set[str] = set()
    unlabeled: set[str] = set()
    with collected(problems):
        annotated = set(expert_annotations(config.data.experts, Cases()))
    with collected(problems):
        unlabeled = set(find_images(config.data.unlabeled))
    if both := sorted(annotated & unlabeled):
        problems.append(f"{config.data.unlabeled}: {', '.join(both)}: labeled in {config.data.experts}, too")
    if not problems:
        problems += _unknown_cases(config.cases, annotated | unlabeled)
    problems += _missing_maps(config)
    problems += place_problems(config.run, config.data.experts, config.data.unlabeled, config.data.maps)
    problems += machine_problems(config.machine, {"first": config.first, "second": config.second})
    raise_if_any(problems)
    avoided = config.cases.avoided
    return LiteCounts(experts=len(annotated - avoided), unlabeled=len(unlabeled), student=len(unlabeled - avoided))


def _unknown_cases(cases: Cases, known: Set[str]) -> list[str]:
    """A line for each field that names cases which are not there."""
    named = {
        "held_out": set(cases.held_out),
        "patients": {name for names in cases.patients.values() for name in names},
        "transposed_mm": set(cases.transposed_mm),
    }
    missing = {field: ", ".join(sorted(names - known)) for field, names in named.items()}
    return [f"cases.{field}: no case {names}" for field, names in missing.items() if names]


def _missing_maps(config: LiteConfig) -> list[str]:
    """A line for each folder of label maps that a cohort is painted on and that is not there."""
    plans = [cohort.plan for cohort in config.cohorts.values() if not cohort.invented]
    folders = {name for plan in plans for name in (plan.anatomies, *(maps.folder for maps in plan.tumors))}
    places = [config.data.maps / name for name in sorted(folders)] if config.data.maps else []
    return [f"{place}: expected a folder of label maps, found nothing" for place in places if not place.is_dir()]
