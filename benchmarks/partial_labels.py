"""Merge-max, marginal and background, with and without CutMix, on painted CTs whose truth is known.

Usage: python -m benchmarks.partial_labels MAPS WORK REPORT [--workers 2]

MAPS holds organs8, liver_tumor and kidney_tumor with label maps. WORK keeps the cohort, the prepared cases and the
scores of every run that ended; the same command goes on from there. Each run is a process of one thread.
"""

import argparse
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Final, get_args

import torch

from benchmarks.machine import dated
from flare_eval.accuracy.scoring import score_folder
from flare_infer import labels
from flare_infer.files.write_whole import write_json
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.model.spec import ModelSpec, Normalization
from flare_infer.segment.segmenter import Segmenter
from train.augment.chain import Augmentation
from train.augment.intensity import IntensityAugmentation
from train.augment.spatial import SpatialAugmentation
from train.dataset.cases import Case, read_cases, training_cases
from train.export.export import export
from train.fit.loop import fit
from train.loss.partial import PartialLoss
from train.recipes.recipe import TrainingRecipe, isotropic_network, lite
from train.recipes.schedule import Optimization
from train.record.journal import read_journal
from train.sampling.sampler import Sampling
from train.store.extract_tumors import Margins, extract_objects
from train.store.prepare import prepare_cases
from train.store.tumor_objects import read_objects
from train.synth.cohort import TRUTH_FOLDER, write_cohort
from train.synth.cohort_plan import GROUPS, CohortPlan

SPACING_MM: Final = (5.0, 5.0, 5.0)
SEEDS: Final = (1, 2, 3)
STEPS: Final = 1200
CASES: Final = {"full": 8, "abdomen": 5, "liver": 4, "kidneys": 4, "pancreas": 3, "spleen": 2, "tumor": 6}
SMALLEST_TUMOR_ML: Final = 4.0
"""32 voxels: of less, a grid of 5 mm shows hardly anything."""
MARGINS: Final = Margins(least=(4, 4, 4), most=(8, 5, 5))
"""The paper's 8 to 16 and 24 to 32 voxels are about 20 to 40 and 20 to 26 mm on the scans it used."""

UNCHANGED: Final = Augmentation(
    spatial=SpatialAugmentation(rotation_probability=0.0, scale_probability=0.0, mirror_axes=()),
    intensity=IntensityAugmentation(
        noise=0.0, blur=0.0, brightness=0.0, contrast=0.0, low_resolution=0.0, gamma=0.0, gamma_inverted=0.0
    ),
)
"""No augmentation: painted cases vary in shape, phase and noise by themselves, and the runs are short."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What one run does differently from the others."""

    partial_loss: PartialLoss
    cutmix: bool
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.partial_loss}_{'cutmix' if self.cutmix else 'plain'}_{self.seed}"


ARMS: Final = [
    Arm(partial_loss=loss, cutmix=cutmix, seed=seed)
    for seed, loss, cutmix in product(SEEDS, get_args(PartialLoss), (True, False))
]
"""Seed by seed, so that an unfinished experiment has whole comparisons."""


def plan() -> CohortPlan:
    """32 painted cases that train, of 12 patients; 6 other patients test."""
    groups = tuple(replace(group, cases=CASES[group.name]) for group in GROUPS)
    return CohortPlan(
        groups=groups, unlabeled=0, validation=6, spacing_mm=SPACING_MM, smallest_tumor_ml=SMALLEST_TUMOR_ML
    )


def recipe_of(arm: Arm) -> TrainingRecipe:
    """A small network on the painted grid; arms differ in loss, CutMix and seed alone."""
    return replace(
        lite(STEPS),
        spec=ModelSpec(
            name="partial-labels",
            spacing_mm=SPACING_MM,
            patch=(32, 40, 40),
            normalization=Normalization(clip_low_hu=-200.0, clip_high_hu=300.0, mean_hu=50.0, std_hu=100.0),
            network=isotropic_network((16, 32, 64, 96)),
        ),
        seed=arm.seed,
        sampling=Sampling(type_sampling="paired", paired_after=0, foreground=0.9, jitter=0.25, organ_center_keep=0.2),
        augmentation=UNCHANGED,
        optimization=Optimization(method="adamw", learning_rate=6e-3, weight_decay=1e-2, warmup=50),
        partial_loss=arm.partial_loss,
        cutmix=arm.cutmix,
    )


def prepare(maps: Path, work: Path) -> None:
    """Paint the cohort, bring it to the network's grid, cut out tumor objects; what is there is kept."""
    if not (work / "cohort" / "splits.json").exists():
        write_cohort(work / "cohort", plan(), maps)
    cases, spec = read_cases(work / "cohort"), recipe_of(ARMS[0]).spec
    prepare_cases(cases, spec, work / "store")
    extract_objects(cases, spec, MARGINS, work / "objects")
    references = work / "references"
    references.mkdir(exist_ok=True)
    for case in test_cases(work):
        target = references / f"{case.name}.nii.gz"
        target.write_bytes((work / "cohort" / TRUTH_FOLDER / target.name).read_bytes())


def test_cases(work: Path) -> list[Case]:
    """The cases that no run learns from."""
    return [case for case in read_cases(work / "cohort") if case.validation]


def run_arm(work: Path, arm: Arm) -> None:
    """Train, predict the test cases, score them against the complete truth, keep the scores."""
    torch.set_num_threads(1)
    folder = work / "runs" / arm.name
    objects = work / "objects" if arm.cutmix else None
    fit(recipe_of(arm), work / "store", folder, torch.device("cpu"), objects=objects)
    seconds = sum(float(row["seconds"]) for row in read_journal(folder))
    export(folder, work / "store", folder / "weights", replacing=True)
    segmenter = Segmenter.load(folder / "weights")
    predictions = folder / "predictions"
    predictions.mkdir(exist_ok=True)
    for case in test_cases(work):
        found = segmenter.segment(read_volume(case.image))
        write_volume(predictions / f"{case.name}.nii.gz", found.labels)
    scores = score_folder(predictions, work / "references")
    content = {
        "recipe": recipe_of(arm).to_json(),
        "seconds": seconds,
        "cases": {case.case: dict(case.dsc) for case in scores.cases},
    }
    write_json(folder / "scores.json", content)


def run_pending(work: Path, workers: int) -> None:
    """Every run that has no scores yet, several at a time."""
    pending = [arm for arm in ARMS if not _ended(work, arm)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(run_arm, work, arm): arm for arm in pending}
        for done in as_completed(futures):
            done.result()
            print(f"{futures[done].name}: {_seconds(work, futures[done]):.0f} s", flush=True)


def dsc(work: Path, arm: Arm, codes: tuple[int, ...]) -> float:
    """Mean DSC in percent of some classes over the test cases."""
    cases = _content(work, arm)["cases"].values()
    return 100 * float(mean(mean(scores[str(code)] for code in codes) for scores in cases))


def report(work: Path) -> str:
    """The report of all runs that ended; arms of which not all seeds did say so."""
    lines = [
        "# Partial labels: what the loss does with them, and what CutMix adds",
        "",
        dated("partial_labels.py", "numpy", "scipy"),
        "",
        *_setting(work),
        "",
        "| loss | CutMix | runs | organs | tumor |",
        "|:---|:---|---:|---:|---:|",
    ]
    groups = [(loss, cutmix) for loss in get_args(PartialLoss) for cutmix in (False, True)]
    done = {group: _arms(work, *group) for group in groups}
    groups = [group for group in groups if done[group]]
    for loss, cutmix in groups:
        arms = done[loss, cutmix]
        cells = [_cell(work, arms, codes) for codes in (labels.ORGANS, (labels.TUMOR,))]
        lines.append(f"| {loss} | {'on' if cutmix else 'off'} | {len(arms)} | {' | '.join(cells)} |")
    titles = " | ".join(f"{loss}{' + CutMix' if cutmix else ''}" for loss, cutmix in groups)
    lines += ["", f"| class | cases | {titles} |", f"|:---|---:|{'---:|' * len(groups)}"]
    training = training_cases(read_cases(work / "cohort"))
    for code in labels.CODES:
        cells = [_cell(work, done[group], (code,)) for group in groups]
        count = sum(code in case.annotated for case in training)
        lines.append(f"| {labels.NAMES[code]} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _setting(work: Path) -> list[str]:
    recipe, cases = recipe_of(ARMS[0]), read_cases(work / "cohort")
    training = training_cases(cases)
    types: dict[tuple[int, ...], int] = {}
    for case in training:
        types[case.annotated] = types.get(case.annotated, 0) + 1
    kinds = "; ".join(f"{count} x {_codes(codes)}" for codes, count in types.items())
    objects = len(read_objects(work / "objects"))
    shape = " x ".join(str(length) for length in recipe.spec.patch)
    seconds = [_seconds(work, arm) for arm in ARMS if _ended(work, arm)]
    return [
        f"DSC in percent against the complete truth of {len(cases) - len(training)} painted patients that no run "
        f"learned from: mean over them, then mean and standard deviation over the seeds {', '.join(map(str, SEEDS))}. "
        "A class that neither truth nor prediction has counts as 100.",
        "",
        f"{len(training)} cases train, painted at {SPACING_MM[0]:g} mm on real label maps of 12 other patients (each "
        "bent anew), right kidney, vena cava, aorta and adrenal glands invented where the map has none, tumors cut out "
        "of real maps of liver and kidney tumors. What they annotate, by code, everything else withheld: "
        f"{kinds}. No case annotates both all organs and tumors; where tumors are not annotated, three in ten cases "
        f"have some, labeled as the organ. CutMix pastes {objects} objects. Painted CTs are easier than real ones: the "
        "figures compare the arms, they do not say how well a model segments patients.",
        "",
        f"Same network (features {', '.join(map(str, recipe.spec.network.features))}), patches of {shape}, batch of "
        f"{recipe.batch}, {recipe.steps} steps of AdamW, no augmentation. Steps alternate between cases with all "
        "organs and the other types (`type_sampling = paired`, from the first step on). Cases and places of a seed are "
        "the same in all arms: only loss and pasting differ. Training took "
        f"{min(seconds, default=0):.0f} to {max(seconds, default=0):.0f} s a run on one thread.",
    ]


def _codes(codes: tuple[int, ...]) -> str:
    return "1-13" if codes == labels.ORGANS else ",".join(str(code) for code in codes)


def _cell(work: Path, arms: list[Arm], codes: tuple[int, ...]) -> str:
    values = [dsc(work, arm, codes) for arm in arms]
    spread = f" +- {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread}"


def _arms(work: Path, loss: str, cutmix: bool) -> list[Arm]:
    return [arm for arm in ARMS if (arm.partial_loss, arm.cutmix) == (loss, cutmix) and _ended(work, arm)]


def _ended(work: Path, arm: Arm) -> bool:
    """Whether a run has its scores; those of another recipe do not count, and `fit` then says so."""
    return _scores(work, arm).exists() and _content(work, arm)["recipe"] == recipe_of(arm).to_json()


def _scores(work: Path, arm: Arm) -> Path:
    return work / "runs" / arm.name / "scores.json"


def _content(work: Path, arm: Arm) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_scores(work, arm).read_text(encoding="utf-8"))
    return content


def _seconds(work: Path, arm: Arm) -> float:
    return float(_content(work, arm)["seconds"])


def main() -> None:
    """Do what is not done yet, and write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("maps", "work", "report"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    arguments.work.mkdir(parents=True, exist_ok=True)
    prepare(arguments.maps, arguments.work)
    run_pending(arguments.work, arguments.workers)
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(report(arguments.work), encoding="utf-8")


if __name__ == "__main__":
    main()
