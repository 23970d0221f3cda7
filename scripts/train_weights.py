"""Train the weights of this repository, from the data to the folder: one file that holds every number.

Usage: python -m scripts.train_weights DATA WORK TARGET

DATA holds ct/ (real CTs, partially annotated) and labels/ (label maps without CTs); nothing is written there. WORK
keeps datasets, stores and runs: an interrupted command goes on from there. TARGET becomes the weights folder.

A first training learns from CTs painted on real label maps, where all classes are known: shapes and places. Two second
ones go on from there, each with the real CTs and with painted ones that reach from the chest to the thighs: real
tissue. The painted ones are there because a class that hardly any real CT annotates is otherwise free to win wherever
nothing is annotated, and because hardly any real CT holds a pelvis. Those of one second training have kidneys as dark
inside as real ones, and none of its unenhanced ones has a tumor, so it claims fewer tumors; the other finds more of
them. What ships is the average of both.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from flare_infer import labels
from flare_infer.annotated import FILE_NAME
from flare_infer.model_file import SPEC_FILE
from flare_infer.weights import load_networks, save_model
from scripts.starter_dataset import main as lay_out
from train.data.cases import DESCRIPTION_FILE
from train.data.splits import PATIENTS_FILE
from train.synth.cohort import write_cohort
from train.synth.plan import CohortPlan, Group
from train.synth.shapes import HOSTS

PAINTED: Final = CohortPlan(
    groups=(Group(name="painted", annotated=labels.CODES, cases=128),),
    unlabeled=0,
    validation=0,
    shapes=99,
    tumor_free=0.4,
)
TORSOS: Final = CohortPlan(
    groups=(Group(name="torso", annotated=labels.CODES, cases=10),),
    unlabeled=0,
    validation=0,
    shapes=99,
    tumor_free=0.5,
    torso=True,
)
BENIGN: Final = replace(TORSOS, groups=(Group(name="torso", annotated=labels.CODES, cases=8),), benign=True)
UNENHANCED: Final = replace(
    BENIGN,
    groups=(Group(name="torso_unenhanced", annotated=labels.CODES, cases=4),),
    tumor_free=1.0,
    phases=(1.0, 0.0, 0.0),
)
"""Without tumors: most would hardly show, and who learns what does not show claims it anywhere."""
INVENTED: Final = replace(BENIGN, groups=(Group(name="torso_invented", annotated=labels.CODES, cases=3),), patients=3)

SECOND: Final = {"torsos": (0.25, ("torsos",)), "benign": (0.75, ("benign", "unenhanced", "invented"))}
"""The second trainings: their shares in the weights, and the painted cohorts beside the real CTs."""

TUMOR_BIAS: Final = -0.75
"""Added to the logit of tumor, which then wins only where it is twice as probable as any other class (e^0.75)."""

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
"""Smaller parts of an organ, beside its largest, are islands elsewhere; chosen by the folds, see decision 9."""


def train(data: Path, painted: Path, work: Path, held_out: Collection[str]) -> Path:
    """Train on all cases but those held out; the weights folder.

    Args:
        data: ct/ and labels/.
        painted: work folder of the first training, which sees no real CT: the same for every choice of cases.
        work: folder of the second ones.
        held_out: names of real cases that are not to be learned from.
    """
    start, maps = painted / "weights", data / "labels"
    for name, plan in (("dataset", PAINTED), ("torsos", TORSOS), ("benign", BENIGN), ("unenhanced", UNENHANCED)):
        paint(painted / name, plan, maps)
    paint(painted / "invented", INVENTED)
    if not (start / SPEC_FILE).is_file():
        _prepare_fit_export(painted, ON_PAINTED)
    for name, (_, cohorts) in SECOND.items():
        place = work / name
        if not (place / "dataset").is_dir():
            place.mkdir(parents=True, exist_ok=True)
            unfinished = place / "dataset.part"
            shutil.rmtree(unfinished, ignore_errors=True)
            lay_out(data / "ct", unfinished, held_out)
            for cohort in cohorts:
                _add(painted / cohort, unfinished)
            unfinished.rename(place / "dataset")
        if not (place / "weights" / SPEC_FILE).is_file():
            _prepare_fit_export(place, ON_REAL, "--start", start)
    if not (work / "weights" / SPEC_FILE).is_file():
        average({work / name / "weights": share for name, (share, _) in SECOND.items()}, work / "weights")
    return work / "weights"


def average(models: Mapping[Path, float], target: Path) -> None:
    """One network whose numbers are those of several, each by its share, and which is more careful with tumors.

    Networks that began with the same weights can be averaged so (Wortsman et al., Model soups, ICML 2022).
    """
    loaded = {folder: load_networks(folder, torch.device("cpu")) for folder in models}
    spec, (network,) = loaded[max(models, key=models.__getitem__)]
    states = {folder: networks[0].state_dict() for folder, (_, networks) in loaded.items()}
    mixed = {
        name: torch.stack([share * states[folder][name] for folder, share in models.items()]).sum(dim=0)
        for name in network.state_dict()
    }
    for name, numbers in mixed.items():
        if name.startswith("heads.") and name.endswith(".bias"):
            numbers[labels.TUMOR] += TUMOR_BIAS
    network.load_state_dict(mixed)
    origins = [{"share": share, "cases": loaded[folder][0].training["cases"]} for folder, share in models.items()]
    training = spec.training | {"averaged": origins, "tumor_bias": TUMOR_BIAS}
    finished = replace(spec, smallest_part=SMALLEST_PART, tumor_organs=HOSTS, training=training)
    save_model(target, finished, network)


def flare(package: str, *arguments: str | Path) -> None:
    """Run a command of this checkout: `train` is flare-train, `infer` flare-infer."""
    command = f"from {'train' if package == 'train' else 'flare_infer'}.cli import main; main()"
    subprocess.run([sys.executable, "-c", command, *map(str, arguments)], check=True)


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
    annotated, description, patients = (
        json.loads((dataset / file).read_text(encoding="utf-8"))
        for file in (FILE_NAME, DESCRIPTION_FILE, PATIENTS_FILE)
    )
    annotated |= painted
    description["numTraining"] = len(annotated)
    patients |= json.loads((cohort / PATIENTS_FILE).read_text(encoding="utf-8"))
    for file, content in ((FILE_NAME, annotated), (DESCRIPTION_FILE, description), (PATIENTS_FILE, patients)):
        (dataset / file).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    source, place, target = map(Path, sys.argv[1:4])
    made = train(source, place / "painted", place / "real", held_out=())
    target.mkdir(parents=True, exist_ok=True)
    for file in (made / "model.safetensors", made / SPEC_FILE):
        (target / file.name).write_bytes(file.read_bytes())
