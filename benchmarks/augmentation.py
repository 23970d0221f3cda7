"""Transforms sample by sample, of a whole batch at once, and batchgeneratorsv2's: processor time of each.

Usage: python -m benchmarks.augmentation PEER_PYTHON DATA REPORT

PEER_PYTHON is the Python of an environment with nnunetv2; DATA holds ct/NAME_0000.nii.gz, ct/NAME_labels.nii.gz and
ct/annotated.json. The peer's side is in `augmentation_peer.py`, the batch at once in `batched_transforms.py`. Cases lie
in memory on all sides, so that reading them is no part of it; `loader.py` measures the whole.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks import batched_transforms
from benchmarks.machine import dated
from flare_infer.backends.allocator import keep_freed_blocks
from flare_infer.backends.cores import cores_of_job
from flare_infer.labels import CODES
from train.augment.chain import Augmentation, augmented_patch
from train.augment.cut import cut_patch
from train.augment.elastic import ElasticDeformation
from train.augment.intensity import IntensityParameters, apply_intensity, draw_intensity
from train.augment.spatial import SpatialParameters, draw_spatial
from train.dataset.cases import Case
from train.recipes.recipe import TrainingRecipe, coarse
from train.sampling.sampler import CenterSampler, PatchCenter, sample_generator
from train.store.prepare import prepare_case
from train.store.store import PreparedCase

ROOT: Final = Path(__file__).resolve().parent.parent
PEER: Final = ROOT / "benchmarks" / "augmentation_peer.py"
CASES: Final = ("hcc006_p3", "lidc_chest")
SAMPLES, CENTERS, REPEATS = 80, 8, 9


def main(peer: str, data: Path, report: Path) -> None:
    """Measure all sides and write the report."""
    keep_freed_blocks()
    paper = coarse()
    spatial = replace(paper.augmentation.spatial, elastic_probability=0.0)
    recipe = replace(paper, augmentation=replace(paper.augmentation, spatial=spatial))
    cases = [_case(data / "ct", name, recipe) for name in CASES]
    sampler = CenterSampler(cases, recipe.sampling, recipe.spec.patch)
    centers = [sampler.draw(sample_generator(0, number, 0)) for number in range(CENTERS)]
    theirs = _theirs(peer, cases, centers)
    torch.set_num_threads(1)
    one_by_one = _one_by_one(recipe, centers)
    alone = _alone(recipe, centers[0])
    batches = {threads: _batches(recipe, centers, threads) for threads in (1, cores_of_job())}
    version = _run([peer, "-c", "import importlib.metadata as m; print(m.version('batchgeneratorsv2'), end='')"])
    report.parent.mkdir(parents=True, exist_ok=True)
    lines = _lines(theirs, one_by_one, alone, batches, _difference(recipe, centers), version)
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _lines(
    theirs: dict[str, Any],
    one_by_one: float,
    alone: dict[str, float],
    batches: dict[int, tuple[float, float]],
    difference: float,
    version: str,
) -> list[str]:
    lines = [
        "# Augmentation: one by one, a batch at once, and batchgeneratorsv2",
        "",
        f"{dated('augmentation.py', 'numpy')} The peer: batchgeneratorsv2 {version}.",
        "",
        "Patches of 32 x 192 x 192 from real CTs at 2.5 x 1.5 x 1.5 mm, in memory. The recipe `coarse` without elastic "
        f"deformation; the peer has the same probabilities. Mean of {SAMPLES} samples, each side's own draws.",
        "",
        "| | processor time a sample (ms) | wall time a sample (ms) |",
        "|:---|---:|---:|",
        f"| ours, one by one, as workers do (one thread) | {one_by_one:.1f} | |",
    ]
    for threads, (spent, took) in batches.items():
        lines.append(f"| a batch of 4 at once, {_threads(threads)} | {spent:.1f} | {took:.1f} |")
    lines += [
        f"| batchgeneratorsv2, as nnU-Net's trainer chains it (one thread) | {theirs['whole']:.1f} | |",
        f"| the same, labels of the nearest voxel | {theirs['nearest']:.1f} | |",
        "",
        "Memory that is freed is kept, as in our workers. The batch at once has the parameters of the samples one by "
        f"one; without noise its images differ from theirs by up to {difference:.0e}.",
        "",
        "Training draws one by one. On a CPU that is the cheapest; what is drawn depends neither on the number of "
        "workers or ranks nor on the device; and a plain patch, two thirds of all, costs next to nothing, while a "
        "batch at once needs pieces of one size, large enough to be turned, brought to the device for every sample. "
        "The same is chosen for a GPU, where it was not measured: the work is then done by cores that are idle "
        "otherwise, at the rate that `loader.md` tells.",
        "",
        "## Each transform alone",
        "",
        "Processor time of one thread, milliseconds, always applied; median of several.",
        "",
        "| | ours | batchgeneratorsv2 |",
        "|:---|---:|---:|",
    ]
    for name in dict.fromkeys([*alone, *theirs["alone"]]):
        each = [f"{found[name]:.1f}" if name in found else "" for found in (alone, theirs["alone"])]
        lines.append(f"| {name} | {' | '.join(each)} |")
    return lines


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _case(folder: Path, name: str, recipe: TrainingRecipe) -> PreparedCase:
    annotated = json.loads((folder / "annotated.json").read_text(encoding="utf-8"))[name]
    files = {"image": folder / f"{name}_0000.nii.gz", "labels": folder / f"{name}_labels.nii.gz"}
    return prepare_case(Case(name=name, annotated=tuple(sorted(annotated)), **files), recipe.spec)


def _theirs(peer: str, cases: Sequence[PreparedCase], centers: Sequence[PatchCenter]) -> dict[str, Any]:
    names = sorted(case.name for case in cases)
    arrays: dict[str, Any] = {"centers": [(names.index(center.case.name), *center.voxel) for center in centers]}
    for case in cases:
        labels_zyx = np.asarray(case.labels_zyx)
        arrays[f"image_{case.name}"] = np.asarray(case.image_zyx)
        arrays[f"labels_{case.name}"] = np.where(np.isin(labels_zyx, CODES), labels_zyx, np.uint8(0))
    with tempfile.TemporaryDirectory() as scratch:
        np.savez(Path(scratch) / "cases.npz", **arrays)
        found: dict[str, Any] = json.loads(_run([peer, str(PEER), str(Path(scratch) / "cases.npz"), str(SAMPLES)]))
    return found


def _run(command: list[str]) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment).stdout


def _one_by_one(recipe: TrainingRecipe, centers: Sequence[PatchCenter]) -> float:
    """Processor milliseconds a sample."""
    air, size, spacing_mm = recipe.spec.normalization.air, recipe.spec.patch, recipe.spec.spacing_mm

    def draw(number: int) -> None:
        rng = sample_generator(1, number, 0)
        center = centers[number % len(centers)]
        augmented_patch(center, recipe.augmentation, rng, size=size, spacing_mm=spacing_mm, air=air)

    for number in range(8):
        draw(number)
    started = time.process_time()
    for number in range(SAMPLES):
        draw(number)
    return (time.process_time() - started) / SAMPLES * 1e3


def _batches(recipe: TrainingRecipe, centers: Sequence[PatchCenter], threads: int) -> tuple[float, float]:
    """Milliseconds a sample, of the processor and by the clock; pieces are there already."""
    size, spacing_mm = recipe.spec.patch, recipe.spec.spacing_mm
    images, labels = _pieces(recipe, centers)
    torch.set_num_threads(threads)

    def batch(step: int) -> None:
        turns, changes = _drawn(recipe.augmentation, step, recipe.batch)
        changed, _ = batched_transforms.spatial(images, labels, turns, size, spacing_mm)
        batched_transforms.intensity(changed, changes)

    batch(0)
    started, clock = time.process_time(), time.perf_counter()
    for step in range(SAMPLES // recipe.batch):
        batch(step)
    spent, took = time.process_time() - started, time.perf_counter() - clock
    torch.set_num_threads(1)
    return spent / SAMPLES * 1e3, took / SAMPLES * 1e3


def _pieces(recipe: TrainingRecipe, centers: Sequence[PatchCenter]) -> tuple[torch.Tensor, torch.Tensor]:
    """The pieces of a batch, images and labels, that patches are turned in."""
    # What a patch can need that is turned by 30 degrees and scaled by 1.4 would be larger still.
    large, air = (128, 288, 288), recipe.spec.normalization.air
    plain = SpatialParameters()
    pieces = [cut_patch(center, large, recipe.spec.spacing_mm, plain, air) for center in centers[: recipe.batch]]
    return torch.stack([piece.image_zyx for piece in pieces]), torch.stack([piece.labels_zyx for piece in pieces])


def _difference(recipe: TrainingRecipe, centers: Sequence[PatchCenter]) -> float:
    """The largest one between images of a batch at once and one by one, where both see the whole of what they need."""
    air, size, spacing_mm = recipe.spec.normalization.air, recipe.spec.patch, recipe.spec.spacing_mm
    images, labels = _pieces(recipe, centers)
    always = replace(recipe.augmentation.intensity, noise=0.0, blur=1.0, contrast=1.0, brightness=1.0, gamma=1.0)
    largest = 0.0
    for step in range(8):
        turns, changes = _drawn(replace(recipe.augmentation, intensity=always), step, recipe.batch)
        turns = [replace(turn, angles=tuple(angle / 4 for angle in turn.angles), scale=1.0) for turn in turns]
        changed, _ = batched_transforms.spatial(images, labels, turns, size, spacing_mm)
        batched_transforms.intensity(changed, changes)
        for center, turn, change, found in zip(centers, turns, changes, changed, strict=False):
            expected = apply_intensity(cut_patch(center, size, spacing_mm, turn, air).image_zyx, change)
            largest = max(largest, float((expected - found).abs().max()))
    return largest


def _drawn(
    augmentation: Augmentation, step: int, batch: int
) -> tuple[list[SpatialParameters], list[IntensityParameters]]:
    generators = [sample_generator(1, step, index) for index in range(batch)]
    turns = [draw_spatial(augmentation.spatial, rng) for rng in generators]
    return turns, [draw_intensity(augmentation.intensity, rng) for rng in generators]


def _alone(recipe: TrainingRecipe, center: PatchCenter) -> dict[str, float]:
    """Processor milliseconds of each transform."""
    air, size, spacing_mm = recipe.spec.normalization.air, recipe.spec.patch, recipe.spec.spacing_mm

    def cut(parameters: SpatialParameters) -> Callable[[], Any]:
        return lambda: cut_patch(center, size, spacing_mm, parameters, air)

    patch = cut_patch(center, size, spacing_mm, SpatialParameters(), air)

    def change(**values: Any) -> Callable[[], Any]:
        return lambda: apply_intensity(patch.image_zyx, IntensityParameters(**values))

    turned = SpatialParameters(angles=(0.3, 0.2, 0.1), scale=1.1)
    deformed = SpatialParameters(elastic=ElasticDeformation(seed=1, knots_mm=40.0, magnitude_mm=8.0))
    works = {
        "plain": cut(SpatialParameters()),
        "rotation and scaling, labels of the nearest voxel": cut(turned),
        "elastic, labels of the nearest voxel": cut(deformed),
        "noise": change(noise=0.1),
        "blur": change(blur=(0.7, 0.8, 0.9)),
        "brightness": change(brightness=1.1),
        "contrast": change(contrast=1.1),
        "low resolution": change(low_resolution=0.7),
        "gamma": change(gamma=((1.2, False),)),
        "mirroring": lambda: (patch.image_zyx.flip(0, 1), patch.labels_zyx.flip(0, 1)),
    }
    return {name: _milliseconds(work) for name, work in works.items()}


def _milliseconds(work: Callable[[], Any]) -> float:
    work()
    found = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        found.append((time.process_time() - started) * 1e3)
    return statistics.median(found)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
