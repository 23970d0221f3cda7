"""He-normal initialization against PyTorch's default: two trainings a seed that differ in nothing else.

Usage: python -m benchmarks.initialization WORK REPORT

The CTs are painted with invented organs. WORK keeps the cohort, the prepared cases and the runs; the same command goes
on from there. It computes on one thread.
"""

import argparse
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Final

import torch

from benchmarks.machine import dated
from benchmarks.partial_labels import UNCHANGED
from flare_infer.model.network import UNet
from flare_infer.model.spec import ModelSpec, Normalization
from train.dataset.cases import read_cases, training_cases
from train.fit.loop import fit
from train.fit.state import State
from train.recipes.recipe import TrainingRecipe, isotropic_network, lite
from train.recipes.schedule import Optimization
from train.recipes.validation import Validation
from train.record.csv_table import read_table
from train.record.journal import VALIDATION_FILE, read_journal
from train.sampling.sampler import Sampling
from train.store.prepare import prepare_cases
from train.synth.cohort import write_cohort
from train.synth.cohort_plan import cohort_plan_of

SPACING_MM: Final = (8.0, 8.0, 8.0)
SEEDS: Final = (1, 2)
STEPS: Final = 300
EVERY: Final = 100
AVERAGED: Final = 20
"""Number of steps whose mean loss is reported."""
CPU: Final = torch.device("cpu")


def recipe_of(seed: int) -> TrainingRecipe:
    """A small network, trained by the paper's optimizer."""
    return replace(
        lite(STEPS),
        spec=ModelSpec(
            name="initialization",
            spacing_mm=SPACING_MM,
            patch=(32, 32, 32),
            normalization=Normalization(clip_low_hu=-200.0, clip_high_hu=300.0, mean_hu=50.0, std_hu=100.0),
            network=isotropic_network((8, 16, 32, 48)),
        ),
        seed=seed,
        sampling=Sampling(type_sampling="paired", paired_after=0, foreground=0.9, jitter=0.25),
        augmentation=UNCHANGED,
        optimization=Optimization(),
        validation=Validation(every_steps=EVERY, pictured_cases=0),
    )


def train(work: Path, seed: int, he_normal: bool) -> None:
    """One run, from the weights that `UNet` has by itself or from those that `fit` gives it."""
    run, recipe = _run(work, seed, he_normal), recipe_of(seed)
    if not he_normal and not run.exists():
        state = State.begin(recipe, CPU)
        torch.manual_seed(seed)
        state.network.load_state_dict(UNet(recipe.spec.network, recipe.spec.classes).state_dict())
        run.mkdir(parents=True)
        state.save(run, recipe)
    fit(recipe, work / "store", run, CPU)


def report(work: Path) -> str:
    """The report of all runs."""
    cases = read_cases(work / "cohort")
    training, recipe = len(training_cases(cases)), recipe_of(SEEDS[0])
    lines = [
        "# Initialization: He normal against PyTorch's default",
        "",
        dated("initialization.py", "numpy"),
        "",
        f"{training} painted cases train, {len(cases) - training} of other patients validate, on a grid of "
        f"{SPACING_MM[0]:g} mm. A network with features {', '.join(map(str, recipe.spec.network.features))}, patches "
        f"of {' x '.join(map(str, recipe.spec.patch))}, a batch of {recipe.batch}, the paper's optimizer, {STEPS} "
        "steps on one thread. Cases and places of a seed are the same in both runs: only the first weights differ. The "
        f"loss is the mean of {AVERAGED} steps up to the one named, the DSC in percent that of the validation after "
        "it.",
        "",
        "The networks and the runs are small, a thousandth of the paper's steps: the figures say how training begins, "
        "not which of the two ends better. `fit` begins He normal because the paper and nnU-Net do.",
        "",
    ]
    for title, value in (("loss", _loss), ("DSC of organs", _organs)):
        steps = (AVERAGED, *range(EVERY, STEPS + 1, EVERY)) if value is _loss else range(EVERY, STEPS + 1, EVERY)
        lines += [
            f"| {title} after step | {' | '.join(map(str, steps))} |",
            f"|:---|{'---:|' * len(steps)}",
            *(
                f"| {'He normal' if he else 'default'}, seed {seed} | "
                f"{' | '.join(value(_run(work, seed, he), step) for step in steps)} |"
                for seed, he in product(SEEDS, (False, True))
            ),
            "",
        ]
    return "\n".join(lines[:-1]) + "\n"


def _loss(run: Path, step: int) -> str:
    return f"{mean(float(row['loss']) for row in read_journal(run)[step - AVERAGED : step]):.2f}"


def _organs(run: Path, step: int) -> str:
    (found,) = (row["organs"] for row in read_table(run / VALIDATION_FILE) if row["step"] == str(step))
    return f"{100 * float(found):.1f}"


def _run(work: Path, seed: int, he_normal: bool) -> Path:
    return work / "runs" / f"{'he_normal' if he_normal else 'default'}_{seed}"


def main() -> None:
    """Do what is not done yet, and write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("work", "report"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work = arguments.work
    if not (work / "cohort" / "splits.json").exists():
        plan = cohort_plan_of(14, validation=3, unlabeled=0, spacing_mm=SPACING_MM)
        write_cohort(work / "cohort", plan)
    prepare_cases(read_cases(work / "cohort"), recipe_of(SEEDS[0]).spec, work / "store")
    for seed, he_normal in product(SEEDS, (False, True)):
        train(work, seed, he_normal)
    arguments.report.write_text(report(work), encoding="utf-8")


if __name__ == "__main__":
    main()
