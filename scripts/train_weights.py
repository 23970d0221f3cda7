"""Train the weights of this repository, from the data to the folder: one file that holds every number.

Usage: python -m scripts.train_weights DATA WORK TARGET

DATA holds ct/ (real CTs, partially annotated), ct_unlabeled/ (more of them) and labels/ (label maps without CTs);
nothing is written there. WORK keeps datasets, stores and runs: an interrupted command goes on from there. TARGET
becomes the weights folder.

A first training learns from CTs painted on real label maps, where all classes are known: shapes and places. Two second
ones go on from there, each with the real CTs and with painted ones that reach from the chest to the thighs: real
tissue. The painted ones are there because a class that hardly any real CT annotates is otherwise free to win wherever
nothing is annotated, and because hardly any real CT holds a pelvis. Those of one second training have kidneys as dark
inside as real ones, and none of its unenhanced ones has a tumor, so it claims fewer tumors; the other finds more of
them. What ships is the average of both.
"""

import json
import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch

from flare_eval.label_maps.annotations import FILE_NAME
from flare_infer import labels
from flare_infer.geometry import Spacing
from flare_infer.model.model_file import SPEC_FILE, read_model_file
from flare_infer.model.weights import load_networks, save_model
from scripts.flare import flare
from scripts.self_training import add_pseudo_labels
from scripts.starter_dataset import main as lay_out
from scripts.starter_dataset import register
from train.dataset.splits import PATIENTS_FILE
from train.synth.cohort import write_cohort
from train.synth.cohort_plan import CaseGroup, CohortPlan
from train.synth.tumor_shapes import HOSTS

PAINTED: Final = CohortPlan(
    groups=(CaseGroup(name="painted", annotated=labels.CODES, cases=128),),
    unlabeled=0,
    validation=0,
    shapes=99,
    tumor_free=0.4,
)
TORSOS: Final = CohortPlan(
    groups=(CaseGroup(name="torso", annotated=labels.CODES, cases=10),),
    unlabeled=0,
    validation=0,
    shapes=99,
    tumor_free=0.5,
    torso=True,
)
BENIGN: Final = replace(TORSOS, groups=(CaseGroup(name="torso", annotated=labels.CODES, cases=8),), benign=True)
UNENHANCED: Final = replace(
    BENIGN,
    groups=(CaseGroup(name="torso_unenhanced", annotated=labels.CODES, cases=4),),
    tumor_free=1.0,
    phases=(1.0, 0.0, 0.0),
)
"""Without tumors: most would hardly show, and who learns what does not show claims it anywhere."""
INVENTED: Final = replace(
    BENIGN, groups=(CaseGroup(name="torso_invented", annotated=labels.CODES, cases=3),), patients=3
)

EXPERTS: Final = {"torsos": ("torsos",), "benign": ("benign", "unenhanced", "invented")}
"""The second trainings on labels of experts, and the painted cohorts beside the real CTs."""

STUDENT: Final = EXPERTS["benign"]
"""The painted cohorts of the second training that learns from pseudo labels, too."""


@dataclass(frozen=True, kw_only=True)
class Average:
    """One network of several second trainings.

    Attributes:
        shares: of each.
        tumor_bias: added to the logit of tumor: at 1 it wins where it is e times less probable than the next class.
        tumor_lead: as in `ModelSpec`, after that: at 6.5, tumor must lead by e^5.5 somewhere.
    """

    shares: Mapping[str, float]
    tumor_bias: float
    tumor_lead: float = 0.0


TEACHER: Final = Average(shares={"torsos": 0.25, "benign": 0.75}, tumor_bias=-0.75)
SHIPPED: Final = Average(shares={"torsos": 0.25, "benign": 0.25, "student": 0.5}, tumor_bias=1.0, tumor_lead=6.5)

_COMPACT: Final = (labels.LIVER, *labels.KIDNEYS, labels.SPLEEN)

ON_PAINTED: Final = """\
steps = 2400
sampling = { balance = 0.2 }
optimization = { learning_rate = 3e-3 }

[augmentation]
spatial = { elastic_probability = 0.1 }
intensity = { brightness = 0.3, contrast = 0.3, gamma = 0.4, noise = 0.2 }
"""

ON_REAL: Final = """\
steps = 1500
sampling = { foreground = 0.6 }
optimization = { learning_rate = 2e-3 }

[augmentation]
spatial = { elastic_probability = 0.1 }
intensity = { brightness = 0.3, contrast = 0.3, gamma = 0.4 }
"""
"""What either changes in the recipe `lite`."""


SMALLEST_PART: Final = tuple(
    {labels.BACKGROUND: 0.0, labels.LIVER: 0.5, labels.TUMOR: 0.0}.get(code, 0.25 if code in _COMPACT else 0.1)
    for code in range(len(labels.NAMES))
)
"""Smaller parts of an organ, beside its largest, are islands elsewhere; see weights/lite/LOG.md, Islands."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model's grid.

    Attributes:
        spacing_mm: of the CTs that are painted for it.
        change: what it changes in the recipe `lite`, a table `[spec]` in TOML.
    """

    spacing_mm: Spacing
    change: str = ""


LITE: Final = Size(spacing_mm=PAINTED.spacing_mm)


def train(data: Path, painted: Path, work: Path, held_out: Collection[str], size: Size = LITE) -> Path:
    """Train on all cases but those held out; the weights folder.

    Args:
        data: ct/, ct_unlabeled/ and labels/.
        painted: work folder of the first training, which sees no real CT: the same for every choice of cases.
        work: folder of the second ones.
        held_out: names of real cases that are not to be learned from.
        size: of the model.
    """
    first_training(painted, data / "labels", size)

    def labeled(dataset: Path) -> None:
        lay_out(data / "ct", dataset, held_out)

    def pseudo_labeled(dataset: Path) -> None:
        labeled(dataset)
        add_pseudo_labels(dataset, data / "ct_unlabeled", held_out, teacher)

    models = {name: second_training(work / name, painted, cohorts, labeled, size) for name, cohorts in EXPERTS.items()}
    teacher = work / "teacher"
    if not (teacher / SPEC_FILE).is_file():
        average(TEACHER, models, teacher)
    models["student"] = second_training(work / "student", painted, STUDENT, pseudo_labeled, size)
    made = work / "weights"
    if not (made / SPEC_FILE).is_file():
        average(
            SHIPPED, models, made, whose_labels(work / "benign", work / "student", [painted / name for name in STUDENT])
        )
    return made


def whose_labels(experts: Path, student: Path, cohorts: Collection[Path] = ()) -> dict[str, Any]:
    """What the student's model would say wrongly of itself: only labels of experts and painted ones count as annotated.

    Args:
        experts: second training on the student's cases, without pseudo labels.
        student: the second training with them.
        cohorts: the painted ones among its cases, which are counted apart.
    """
    drawn, known = (json.loads((place / "dataset" / FILE_NAME).read_text("utf-8")) for place in (experts, student))
    taken = {name: sorted(set(codes) - set(drawn.get(name, ()))) for name, codes in known.items()}
    return {
        "annotated_cases": read_model_file(experts / "weights").spec.training["annotated_cases"],
        "painted": painted_ones(cohorts),
        "pseudo_labeled": {name: codes for name, codes in taken.items() if codes},
    }


def painted_ones(cohorts: Collection[Path]) -> dict[str, Any]:
    """The cases of painted cohorts, and how many of them annotate each class."""
    cases: dict[str, list[int]] = {}
    for cohort in cohorts:
        cases |= json.loads((cohort / FILE_NAME).read_text(encoding="utf-8"))
    counts = {str(code): sum(code in codes for codes in cases.values()) for code in labels.CODES}
    return {"cases": sorted(cases), "annotated_cases": counts}


def first_training(painted: Path, maps: Path, size: Size = LITE) -> Path:
    """Paint every cohort on label maps, and learn from the first; the weights folder.

    Args:
        painted: work folder.
        maps: folder of label maps.
        size: of the model.
    """
    for name, plan in (("dataset", PAINTED), ("torsos", TORSOS), ("benign", BENIGN), ("unenhanced", UNENHANCED)):
        paint(painted / name, replace(plan, spacing_mm=size.spacing_mm), maps)
    paint(painted / "invented", replace(INVENTED, spacing_mm=size.spacing_mm))
    if not (painted / "weights" / SPEC_FILE).is_file():
        _prepare_fit_export(painted, ON_PAINTED + size.change)
    return painted / "weights"


def second_training(
    place: Path, painted: Path, cohorts: Collection[str], write_real: Callable[[Path], None], size: Size = LITE
) -> Path:  # fmt: skip
    """Go on from the first training with real CTs and painted cohorts; the weights folder.

    Args:
        place: work folder.
        painted: that of the first training.
        cohorts: painted ones to take from there.
        write_real: lays out the real CTs as a dataset in the folder that it is given.
        size: that of the first training.
    """
    if not (place / "dataset").is_dir():
        unfinished = place / "dataset.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        write_real(unfinished)
        for cohort in cohorts:
            _add(painted / cohort, unfinished)
        unfinished.rename(place / "dataset")
    if not (place / "weights" / SPEC_FILE).is_file():
        _prepare_fit_export(place, ON_REAL + size.change, "--start", painted / "weights")
    return place / "weights"


def average(
    how: Average, models: Mapping[str, Path], target: Path, stated: Mapping[str, Any] = MappingProxyType({})
) -> None:  # fmt: skip
    """One network whose numbers are those of several, each by its share.

    Networks that began with the same weights can be averaged so (Wortsman et al., Model soups, ICML 2022).

    Args:
        how: shares, and how tumors are treated.
        models: weights folder of each.
        target: the weights folder that is written; its model.json is that of the model with the largest share.
        stated: what it says of its training instead.
    """
    loaded = {name: load_networks(models[name], torch.device("cpu")) for name in how.shares}
    spec, (network,) = loaded[max(how.shares, key=how.shares.__getitem__)]
    states = {name: networks[0].state_dict() for name, (_, networks) in loaded.items()}
    mixed = {
        key: torch.stack([share * states[name][key] for name, share in how.shares.items()]).sum(dim=0)
        for key in network.state_dict()
    }
    for key, numbers in mixed.items():
        if key.startswith("heads.") and key.endswith(".bias"):
            numbers[labels.TUMOR] += how.tumor_bias
    network.load_state_dict(mixed)
    origins = [{"share": share, "cases": loaded[name][0].training["cases"]} for name, share in how.shares.items()]
    training = spec.training | {"averaged": origins, "tumor_bias": how.tumor_bias} | dict(stated)
    finished = replace(
        spec, smallest_part=SMALLEST_PART, tumor_organs=HOSTS, tumor_lead=how.tumor_lead, training=training
    )
    save_model(target, finished, network)


def _prepare_fit_export(work: Path, config: str, *fit_options: str | Path) -> None:
    written = work / "recipe.toml"
    written.write_text(config, encoding="utf-8")
    choice = ("--recipe", "lite", "--config", written)
    store, run = work / "store", work / "run"
    flare("train", "prepare", work / "dataset", store, *choice)
    flare("train", "fit", store, run, *choice, *fit_options)
    flare("train", "export", run, store, work / "weights")


def paint(cohort: Path, plan: CohortPlan, maps: Path | None = None) -> None:
    """Write a cohort; the folder has its name when it is whole, and is then kept. `maps` as in `write_cohort`."""
    if not cohort.is_dir():
        unfinished = cohort.with_name(f"{cohort.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        write_cohort(unfinished, plan, maps)
        unfinished.rename(cohort)


def _add(cohort: Path, dataset: Path) -> None:
    """Put the cases of a painted cohort into a dataset of real ones."""
    painted = json.loads((cohort / FILE_NAME).read_text(encoding="utf-8"))
    for name in painted:
        for file in (Path("imagesTr") / f"{name}_0000.nii.gz", Path("labelsTr") / f"{name}.nii.gz"):
            (dataset / file).write_bytes((cohort / file).read_bytes())
    register(dataset, painted, json.loads((cohort / PATIENTS_FILE).read_text(encoding="utf-8")))


if __name__ == "__main__":
    source, place, target = map(Path, sys.argv[1:4])
    made = train(source, place / "painted", place / "real", held_out=())
    target.mkdir(parents=True, exist_ok=True)
    for file in (made / "model.safetensors", made / SPEC_FILE):
        (target / file.name).write_bytes(file.read_bytes())
