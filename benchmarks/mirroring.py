"""Mirroring left and right in training: pairs of trainings on real CTs that differ in nothing else.

Usage: python -m benchmarks.mirroring DATA WORK REPORT

DATA holds ct/ of the project's data. WORK keeps the dataset, the prepared cases, the runs and the scores of every run
that ended; the same command goes on from there. It computes on one thread.
"""

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, Final

import numpy as np
import torch

from benchmarks.machine import dated
from flare_eval.accuracy.dice import dice_of_masks
from flare_eval.label_maps.annotations import FILE_NAME, read_annotations
from flare_infer.files.write_whole import write_json
from flare_infer.formats.volume_io import read_volume
from flare_infer.geometry import voxel_volume_ml
from flare_infer.labels import (
    LEFT_ADRENAL_GLAND,
    LEFT_KIDNEY,
    NAMES,
    ORGANS,
    RIGHT_ADRENAL_GLAND,
    RIGHT_KIDNEY,
)
from flare_infer.model.spec import ModelSpec, Normalization
from flare_infer.segment.segmenter import Segmenter
from train.augment.chain import Augmentation
from train.dataset.cases import read_cases
from train.export.export import export
from train.fit.loop import fit
from train.protocol.assemble import Cases, assemble
from train.recipes.recipe import TrainingRecipe, isotropic_network, lite
from train.recipes.schedule import Optimization
from train.record.journal import read_journal
from train.sampling.sampler import Sampling
from train.store.prepare import prepare_cases

HELD_OUT: Final = (
    "hcc006_p3",
    "hcc048_pv",
    "crlm1006",
    "cptacpda_c3l00189",
    "lidc0314",
    "acrinnsclc042",
    "cptacluad_c3n00704",
    "ctcolon0518",
)
"""Eight patients of seven collections, all with both kidneys; no other CT of them is in DATA."""

SAME_PATIENT: Final = {"hcc007": ("hcc007_p3", "hcc007post_p3"), "torso3mm": ("torso3mm", "torso3mm_slab")}
STORED_TRANSPOSED_MM: Final = {"lits117_crop": 1.4}
"""Voxel size of an array whose axes are not those of its header, as in docs/examples/lite.toml."""

SPACING_MM: Final = (5.0, 6.0, 6.0)
PATCH: Final = (16, 48, 48)
"""80 x 288 x 288 mm, what a patch of the paper's coarse model sees."""

SEEDS: Final = (1, 2)
STEPS: Final = 900
MIRRORED: Final = {"left and right stay": (), "left and right are mirrored": (2,)}
"""The arms, and the axes along which their patches are mirrored with probability 1/2."""

SHORT: Final = ("stay", "mirrored")
AVERAGED: Final = 100
"""Number of steps whose mean loss is reported."""

SIDES: Final = {
    "kidneys": (RIGHT_KIDNEY, LEFT_KIDNEY),
    "adrenal glands": (RIGHT_ADRENAL_GLAND, LEFT_ADRENAL_GLAND),
}
UNSIDED: Final = tuple(code for code in ORGANS if all(code not in pair for pair in SIDES.values()))
CPU: Final = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What one run does differently from the others."""

    axes: tuple[int, ...]
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"axes_{''.join(map(str, self.axes)) or 'none'}_{self.seed}"


ARMS: Final = [Arm(axes=axes, seed=seed) for seed, axes in product(SEEDS, MIRRORED.values())]
"""Seed by seed, so that an unfinished experiment has whole comparisons."""


def recipe_of(arm: Arm) -> TrainingRecipe:
    """A small network on a coarse grid; arms differ in mirroring and seed alone."""
    base = lite(STEPS)
    return replace(
        base,
        spec=ModelSpec(
            name="mirroring",
            spacing_mm=SPACING_MM,
            patch=PATCH,
            normalization=Normalization(clip_low_hu=-200.0, clip_high_hu=300.0, mean_hu=50.0, std_hu=100.0),
            network=isotropic_network((8, 16, 32, 64)),
        ),
        seed=arm.seed,
        sampling=Sampling(balance=0.2, foreground=0.9, jitter=0.25),
        augmentation=Augmentation(
            spatial=replace(base.augmentation.spatial, mirror_axes=arm.axes), intensity=base.augmentation.intensity
        ),
        optimization=Optimization(method="adamw", learning_rate=5e-3, weight_decay=1e-2, warmup=50),
    )


def prepare(data: Path, work: Path) -> None:
    """Assemble the dataset of the CTs that train, and bring it to the network's grid; what is there is kept."""
    known = Cases(held_out=HELD_OUT, patients=SAME_PATIENT, transposed_mm=STORED_TRANSPOSED_MM)
    if not (work / "dataset").exists():
        assemble(data / "ct", work / "dataset", known)
    prepare_cases(read_cases(work / "dataset"), recipe_of(ARMS[0]).spec, work / "store")


def run_arm(data: Path, work: Path, arm: Arm) -> None:
    """Train, segment the patients held out, and keep the scores."""
    folder = work / "runs" / arm.name
    fit(recipe_of(arm), work / "store", folder, CPU)
    export(folder, work / "store", folder / "weights", replacing=True)
    segmenter = Segmenter.load(folder / "weights")
    annotated = read_annotations(data / "ct" / FILE_NAME).cases
    cases = {name: scores_of(segmenter, data / "ct", name, annotated[name]) for name in HELD_OUT}
    seconds = sum(float(row["seconds"]) for row in read_journal(folder))
    write_json(folder / "scores.json", {"recipe": recipe_of(arm).to_json(), "seconds": seconds, "cases": cases})


def scores_of(segmenter: Segmenter, folder: Path, name: str, annotated: Sequence[int]) -> dict[str, Any]:
    """DSC of the classes by code, and of the pairs: DSC with one name for both sides, and mL with the wrong side."""
    found = segmenter.segment(read_volume(folder / f"{name}_0000.nii.gz")).labels
    truth_zyx, found_zyx = read_volume(folder / f"{name}_labels.nii.gz").array_zyx, found.array_zyx
    voxel_ml = voxel_volume_ml(found.placement.spacing_mm)
    pairs = {}
    for pair, (right, left) in SIDES.items():
        if not {right, left} <= set(annotated):
            continue
        wrong_zyx = ((truth_zyx == right) & (found_zyx == left)) | ((truth_zyx == left) & (found_zyx == right))
        either_zyx, both_zyx = np.isin(found_zyx, (right, left)), np.isin(truth_zyx, (right, left))
        pairs[pair] = {
            "dsc": float(dice_of_masks(either_zyx, both_zyx)),
            "wrong_ml": float(wrong_zyx.sum()) * voxel_ml,
            "ml": float(both_zyx.sum()) * voxel_ml,
        }
    dsc = {
        str(code): float(dice_of_masks(found_zyx == code, truth_zyx == code))
        for code in ORGANS
        if code in annotated and (truth_zyx == code).any()
    }
    return {"dsc": dsc, "pairs": pairs}


def report(work: Path) -> str:
    """The report of all runs that ended."""
    ended = [arm for arm in ARMS if _content(work, arm) is not None]
    seeds = [seed for seed in SEEDS if all(Arm(axes=axes, seed=seed) in ended for axes in MIRRORED.values())]
    columns = [Arm(axes=axes, seed=seed) for axes in MIRRORED.values() for seed in seeds]
    names = dict(zip(MIRRORED.values(), SHORT, strict=True))
    head = " | ".join(f"{names[arm.axes]}, seed {arm.seed}" for arm in columns)
    rows = [
        *_class_rows(work, columns),
        *_pair_rows(work, columns),
        f"| loss, mean of the last {AVERAGED} steps | {' | '.join(_loss(work, arm) for arm in columns)} |",
    ]
    return (
        "\n".join(
            [
                "# Mirroring left and right in training",
                "",
                dated("mirroring.py", "numpy"),
                "",
                *_setting(work, columns),
                "",
                f"| | {head} |",
                f"|:---|{'---:|' * len(columns)}",
                *rows,
                "",
                "## Kidneys, patient by patient: mL with the name of the other side, of mL in all",
                "",
                f"| patient | mL | {head} |",
                f"|:---|---:|{'---:|' * len(columns)}",
                *(_patient_row(work, columns, name) for name in HELD_OUT),
                "",
                "## What this shows",
                "",
                *_reading(work, seeds),
            ]
        )
        + "\n"
    )


def _setting(work: Path, columns: Sequence[Arm]) -> list[str]:
    recipe, training = recipe_of(ARMS[0]), read_cases(work / "dataset")
    seconds = [_required(work, arm)["seconds"] for arm in columns]
    millimeters = " x ".join(f"{size * step:g}" for size, step in zip(PATCH, SPACING_MM, strict=True))
    return [
        f"{len(training)} real CTs train, {len(HELD_OUT)} of other patients test. A network with features "
        f"{', '.join(map(str, recipe.spec.network.features))} begins with random weights, on a grid of "
        f"{' x '.join(f'{step:g}' for step in SPACING_MM)} mm, with patches of {' x '.join(map(str, PATCH))} voxels: "
        f"{millimeters} mm, what a patch of `coarse` sees. A batch of {recipe.batch}, {recipe.steps} steps of AdamW, "
        f"{min(seconds):.0f} to {max(seconds):.0f} s a run on one thread of a busy machine. Cases, places and turns of "
        "a seed are the same in both of its runs. In one of the two, every patch is mirrored along x with probability "
        "1/2, labels with it, and classes keep their numbers: a right kidney is then "
        "the one on the side of the liver, wherever that is. The other axes are not mirrored in either.",
        "",
        "DSC in percent on the scans' own grids, mean over the patients who have the class. *With one name* is the DSC "
        "of both sides as one class: what it is higher by than the mean of the two sides is lost to wrong sides.",
    ]


def _class_rows(work: Path, columns: Sequence[Arm]) -> list[str]:
    groups: dict[str, tuple[int, ...]] = {NAMES[code]: (code,) for pair in SIDES.values() for code in pair}
    groups |= {"mean of the 13 organs": ORGANS, "mean of the 9 without sides": UNSIDED}
    return [
        f"| {name} | {' | '.join(f'{_dsc(work, arm, codes):.1f}' for arm in columns)} |"
        for name, codes in groups.items()
    ]


def _pair_rows(work: Path, columns: Sequence[Arm]) -> list[str]:
    rows = []
    for pair in SIDES:
        dsc = (f"{100 * mean(case['dsc'] for case in _pairs(work, arm, pair)):.1f}" for arm in columns)
        wrong = (
            f"{100 * _sum(_pairs(work, arm, pair), 'wrong_ml') / _sum(_pairs(work, arm, pair), 'ml'):.2f}"
            for arm in columns
        )
        rows += [
            f"| {pair} with one name | {' | '.join(dsc)} |",
            f"| {pair}: percent of their volume with the name of the other side | {' | '.join(wrong)} |",
        ]
    return rows


def _patient_row(work: Path, columns: Sequence[Arm], name: str) -> str:
    found = [_required(work, arm)["cases"][name]["pairs"]["kidneys"] for arm in columns]
    wrong = " | ".join(f"{case['wrong_ml']:.1f}" for case in found)
    return f"| {name} | {found[0]['ml']:.0f} | {wrong} |"


def _reading(work: Path, seeds: Sequence[int]) -> list[str]:
    """In words, with the numbers of both arms: what the figures say, what they cannot, and what follows."""
    stay, mirrored = ([Arm(axes=axes, seed=seed) for seed in seeds] for axes in MIRRORED.values())
    kidneys = [[case for arm in arms for case in _pairs(work, arm, "kidneys")] for arms in (stay, mirrored)]
    wrong = [_sum(cases, "wrong_ml") for cases in kidneys]
    in_all = _sum(kidneys[0], "ml")
    as_one = [100 * mean(case["dsc"] for case in cases) for cases in kidneys]
    by_side, unsided = (
        [mean(_dsc(work, arm, codes) for arm in arms) for arms in (stay, mirrored)]
        for codes in (SIDES["kidneys"], UNSIDED)
    )
    return [
        f"- Of {in_all:.0f} mL of kidneys (runs of an arm together) {wrong[0]:.1f} mL bear the name of the other side "
        f"without mirroring and {wrong[1]:.1f} mL with it. The mean DSC of the two kidneys is {by_side[0]:.1f} and "
        f"{by_side[1]:.1f} percent, with one name for both {as_one[0]:.1f} and {as_one[1]:.1f}, and that of the "
        f"organs without sides {unsided[0]:.1f} and {unsided[1]:.1f}.",
        "- This can show whether a network that sees as much at once as the paper's confuses sides more, after the "
        "same number of steps, if it learns from mirrored patients, too. Kidneys are large enough on this grid.",
        "- It cannot show what is left of that after the paper's 300,000 steps on far more patients, when a network "
        "has had time to learn the side from the liver, and when what mirroring adds in variety may pay. These runs "
        "end long before they learned all they could; some classes one seed learns and the other does not. Adrenal "
        f"glands are a few dozen voxels here. {len(seeds)} runs of an arm give no error bars.",
        "- Decision: left and right are not mirrored in any recipe. Whoever wants the released code's rule sets "
        "`augmentation.spatial.mirror_axes = [0, 1, 2]` in a `--config`; a training at the paper's size should measure "
        "it again.",
    ]


def _dsc(work: Path, arm: Arm, codes: Iterable[int]) -> float:
    """Mean over the classes of the mean over the patients, in percent."""
    cases = [case["dsc"] for case in _required(work, arm)["cases"].values()]
    return 100 * mean(mean(case[str(code)] for case in cases if str(code) in case) for code in codes)


def _pairs(work: Path, arm: Arm, pair: str) -> list[dict[str, float]]:
    cases = _required(work, arm)["cases"].values()
    return [case["pairs"][pair] for case in cases if pair in case["pairs"]]


def _sum(cases: Iterable[dict[str, float]], field: str) -> float:
    return sum(case[field] for case in cases)


def _loss(work: Path, arm: Arm) -> str:
    losses = [float(row["loss"]) for row in read_journal(work / "runs" / arm.name)]
    return f"{mean(losses[-AVERAGED:]):.3f}"


def _content(work: Path, arm: Arm) -> dict[str, Any] | None:
    """The scores of a run; None if it has none yet. Those of another recipe do not count, and `fit` then says so."""
    path = work / "runs" / arm.name / "scores.json"
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content if content["recipe"] == recipe_of(arm).to_json() else None


def _required(work: Path, arm: Arm) -> dict[str, Any]:
    content = _content(work, arm)
    if content is None:
        raise SystemExit(f"{arm.name}: has no scores yet")
    return content


def main() -> None:
    """Do what is not done yet, and write the report of the seeds of which both runs ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("data", "work", "report"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    prepare(arguments.data, work)
    for arm in ARMS:
        if _content(work, arm) is None:
            started = time.perf_counter()
            run_arm(arguments.data, work, arm)
            print(f"{arm.name}: {time.perf_counter() - started:.0f} s", flush=True)
    arguments.report.write_text(report(work), encoding="utf-8")


if __name__ == "__main__":
    main()
