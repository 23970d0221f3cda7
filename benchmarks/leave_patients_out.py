"""The recipe of the shipped weights on real CTs of patients it never saw: each is left out once, and tested.

Usage: python -m benchmarks.leave_patients_out DATA WORK REPORT

DATA holds ct/, ct_unlabeled/ and labels/ of the project's data. WORK keeps a pipeline of docs/examples/lite.toml for
each fold, and predictions: an interrupted command goes on from there, and one that names other folds in FOLDS (as
FOLDS=0,2) trains only these. The report needs all of them; with it every segmentation is drawn, into WORK/pictures.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cc3d
import numpy as np
import tomli_w

from benchmarks.islands import keeping_islands
from benchmarks.machine import dated
from flare_eval.accuracy.scores import CaseScores
from flare_eval.accuracy.scoring import score_folder
from flare_eval.label_maps.annotations import FILE_NAME, read_annotations
from flare_eval.reports.summary import markdown_row, summarize_cases
from flare_infer.formats.volume_io import read_volume
from flare_infer.labels import CODES, LEFT_KIDNEY, NAMES, RIGHT_KIDNEY, TUMOR
from flare_infer.results.organ_volumes import volumes_ml
from flare_infer.results.picture import overlay
from flare_infer.volume.orient import turn
from train.protocol.lite_config import FIRST, read_lite_config
from train.protocol.run import run_pipeline
from train.synth.cohort import write_cohort
from train.synth.cohort_plan import CaseGroup, CohortPlan

RECIPE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "lite.toml"

FOLDS = (
    ("lidc_chest", "hcc006_p3", "tcgaov"),
    ("torso3mm_slab", "hcc015_p3", "panc001", "hcc002_p2"),
    ("chaos1", "crlm1006", "hcc011_p3"),
    ("crlm1004", "ircad17", "hcc007_p3", "hcc007post_p3", "cptacpda"),
)
"""Whole patients. lits117_crop always trains and is never tested: its header does not say how large its voxels are."""

WHOLE = {"torso3mm_slab": "torso3mm"}
"""A test case of which the whole scan is there without labels: it is segmented, too, for the tumor that is claimed."""

NO_TUMOR = ("chaos1", "torso3mm", "torso3mm_slab")
WITH_ISLANDS, TEACHER = "with_islands", "teacher_alone"
HEADINGS = (
    "class",
    "real CTs that train it",
    "cases",
    "mean DSC",
    "least",
    "mean NSD",
    "with islands",
    "teacher",
    "painted alone",
)
LARGE_ML = 20.0


def main(data: Path, work: Path, report: Path) -> None:
    """Train and segment the folds that are asked for, then write the report if all are there."""
    painted = train(data, work / "painted", (), until=f"export-{FIRST}")
    for index in asked_folds():
        fold = work / f"fold{index}"
        if not (fold / "run").is_dir():
            # No CT of a patient is in the first training: every fold goes on from the same one.
            shutil.rmtree(fold / "run.part", ignore_errors=True)
            shutil.copytree(painted, fold / "run.part").rename(fold / "run")
        run = train(data, fold, FOLDS[index])
        link_scans(data, fold, FOLDS[index])
        weights = run / "weights"
        segment(fold / "scans", fold / "predictions", weights)
        segment(fold / "scans", fold / TEACHER, run / "teacher")
        segment(fold / "scans", fold / WITH_ISLANDS, keeping_islands(weights, fold / "weights_with_islands"))
    if all((work / f"fold{index}" / "predictions").is_dir() for index in range(len(FOLDS))):
        link_scans(data, work / "painted", [name for names in FOLDS for name in names])
        segment(work / "painted" / "scans", work / "painted" / "predictions", painted / FIRST / "weights")
        tumor_free = work / "tumor_free"
        if not tumor_free.is_dir():
            write_cohort(tumor_free, tumor_free_plan())
        segment(tumor_free / "imagesTr", tumor_free / "predictions", work / "fold0" / "run" / "weights")
        draw(work)
        report.write_text(written(data, work), encoding="utf-8")


def train(data: Path, place: Path, held_out: Sequence[str], until: str | None = None) -> Path:
    """Run the pipeline of the shipped weights without some patients; its run folder."""
    config = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    data = data.resolve()
    config["data"] = {"experts": f"{data}/ct", "unlabeled": f"{data}/ct_unlabeled", "maps": f"{data}/labels"}
    config["cases"]["held_out"] = list(held_out)
    place.mkdir(parents=True, exist_ok=True)
    (place / "lite.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
    run_pipeline(place / "lite.toml", until)
    return place / config["run"]


def segment(scans: Path, predictions: Path, weights: Path) -> None:
    """Label maps of a folder of scans; what is there already is kept."""
    if not predictions.is_dir():
        unfinished = predictions.with_name("unfinished")
        command = ["flare-infer", "predict", str(scans), str(unfinished), "--weights", str(weights)]
        subprocess.run(command, check=True)
        unfinished.rename(predictions)


def tumor_free_plan() -> CohortPlan:
    """Invented abdomens without tumors, which no training saw."""
    group = CaseGroup(name="tumor_free", annotated=CODES, cases=4)
    return replace(read_lite_config(RECIPE).cohorts[FIRST].plan, groups=(group,), patients=4, tumor_free=1.0, seed=7)


def asked_folds() -> list[int]:
    """The folds that FOLDS names, or all."""
    asked = os.environ.get("FOLDS")
    return [int(fold) for fold in asked.split(",")] if asked else list(range(len(FOLDS)))


def link_scans(data: Path, fold: Path, names: Sequence[str]) -> None:
    """The CTs of test cases, in the folder scans."""
    scans = fold / "scans"
    scans.mkdir(exist_ok=True)
    for name in names:
        _link(scans, data / "ct" / f"{name}_0000.nii.gz")
        if name in WHOLE:
            _link(scans, data / "ct_unlabeled" / f"{WHOLE[name]}_0000.nii.gz")


def draw(work: Path) -> None:
    """A picture of every case as the model of its fold sees it."""
    (work / "pictures").mkdir(exist_ok=True)
    for scan in sorted(work.glob("fold*/scans/*_0000.nii.gz")):
        name = scan.name.removesuffix("_0000.nii.gz")
        image, found = (
            turn(read_volume(path), "LPS")[0] for path in (scan, scan.parent.parent / "predictions" / f"{name}.nii.gz")
        )
        title = f"{name}, a patient this model never saw"
        picture = overlay(image.array_zyx, found.array_zyx, image.placement.spacing_mm, title)
        picture.save(work / "pictures" / f"{name}.png")


def written(data: Path, work: Path) -> str:
    """The report on all folds."""
    annotations = read_annotations(data / "ct" / FILE_NAME)
    names = [name for held_out in FOLDS for name in held_out]
    painted = summarize_cases(scored(data, work / "painted", names)).classes
    cases: list[CaseScores] = []
    others: dict[str, list[CaseScores]] = {WITH_ISLANDS: [], TEACHER: []}
    trained: dict[int, list[int]] = {code: [] for code in CODES}
    for index, held_out in enumerate(FOLDS):
        cases += scored(data, work / f"fold{index}", held_out)
        for predictions in others:
            others[predictions] += scored(data, work / f"fold{index}", held_out, predictions)
        for code in CODES:
            training = [codes for name, codes in annotations.cases.items() if name not in held_out]
            trained[code].append(sum(code in codes for codes in training))
    summary = summarize_cases(cases)
    lines = [
        "# Real CTs of patients never trained on",
        "",
        dated("leave_patients_out.py", "numpy"),
        "",
        f"{len(FOLDS)} folds of whole patients, every patient tested once by a model that saw nothing of it; the",
        "recipe is that of the shipped weights, `docs/examples/lite.toml`.",
        "",
        markdown_row(HEADINGS),
        markdown_row([":---"] + ["---:"] * (len(HEADINGS) - 1)),
    ]
    compared = (*(summarize_cases(scored).classes for scored in others.values()), painted)
    for row, *rest in zip(summary.classes, *compared, strict=True):
        least, most = min(trained[row.code]), max(trained[row.code])
        numbers = (row.dsc.mean, row.dsc.least, row.nsd.mean, *(other.dsc.mean for other in rest))
        cells = [NAMES[row.code], f"{least} to {most}" if least < most else str(least), str(row.annotated)]
        lines.append(markdown_row([*cells, *("-" if number is None else f"{number:.3f}" for number in numbers)]))
    lines += [
        "",
        "The last three are mean DSC, too: without dropping islands; of the teacher, whose labels the student learned",
        "from; of the first training, which saw no real CT.",
    ]
    lines += [
        "",
        "## Case by case (DSC)",
        "",
        *by_case(cases),
        "",
        "## Tumors",
        "",
        *tumors(data, work),
        *_claimed_without_any(work),
        "",
    ]
    return "\n".join([*lines, "## Kidneys", "", *_swapped(data, work)]) + "\n"


def scored(data: Path, fold: Path, names: Sequence[str], predictions: str = "predictions") -> list[CaseScores]:
    """The scores of test cases in a fold's folder of label maps."""
    references = fold / "references"
    references.mkdir(exist_ok=True)
    for name in names:
        _link(references, data / "ct" / f"{name}_labels.nii.gz")
    return score_folder(fold / predictions, references, annotated=data / "ct" / FILE_NAME).cases


def by_case(cases: list[CaseScores]) -> list[str]:
    """A table of DSC, a line for each case."""
    lines = [markdown_row(["case", *(NAMES[code] for code in CODES)]), markdown_row([":---"] + ["---:"] * len(CODES))]
    for case in cases:
        scores = (f"{case.dsc[code]:.2f}" if code in case.dsc else "" for code in CODES)
        lines.append(markdown_row([case.case, *scores]))
    return lines


def tumors(data: Path, work: Path) -> list[str]:
    """A line for each test case: what was found of its tumors, and what was claimed elsewhere."""
    lines = []
    for index, held_out in enumerate(FOLDS):
        for name in (*held_out, *(WHOLE[name] for name in held_out if name in WHOLE)):
            predicted = read_volume(work / f"fold{index}" / "predictions" / f"{name}.nii.gz")
            voxel_ml = float(np.prod(predicted.placement.spacing_mm)) / 1000
            claimed_zyx = predicted.array_zyx == TUMOR
            if TUMOR not in read_annotations(data / "ct" / FILE_NAME).cases.get(name, ()):
                known = "no tumor there" if name in NO_TUMOR else "tumors were not drawn there"
                lines.append(f"- {name}: {known}, {claimed_zyx.sum() * voxel_ml:.1f} mL claimed")
                continue
            truth_zyx = read_volume(data / "ct" / f"{name}_labels.nii.gz").array_zyx == TUMOR
            parts_zyx = cc3d.connected_components(truth_zyx, connectivity=26)
            sizes, found = (
                np.bincount(zyx.ravel(), minlength=parts_zyx.max() + 1)[1:] * voxel_ml
                for zyx in (parts_zyx, parts_zyx[claimed_zyx])
            )
            large = [f"{of:.0f} mL, {ml:.0f} of it found" for of, ml in zip(sizes, found, strict=True) if of > LARGE_ML]
            small = found[sizes <= LARGE_ML]
            touched = [f"of {len(small)} smaller ones {np.count_nonzero(small)} touched"] if len(small) else []
            lines.append(
                f"- {name}: {'; '.join([*large, *touched])}; "
                f"{claimed_zyx.sum() * voxel_ml - found.sum():.0f} mL elsewhere"
            )
    return lines


def _claimed_without_any(work: Path) -> list[str]:
    lines = []
    for path in sorted((work / "tumor_free" / "predictions").glob("*.nii.gz")):
        predicted = read_volume(path)
        claimed_ml = volumes_ml(predicted.array_zyx, predicted.placement.spacing_mm)[TUMOR]
        lines.append(
            f"- {path.name.partition('.')[0]}, invented and painted: no tumor there, {claimed_ml:.1f} mL claimed"
        )
    return lines


def _swapped(data: Path, work: Path) -> list[str]:
    lines = []
    annotated = read_annotations(data / "ct" / FILE_NAME).cases
    for index, held_out in enumerate(FOLDS):
        for name in held_out:
            if not {RIGHT_KIDNEY, LEFT_KIDNEY} <= set(annotated[name]):
                continue
            truth_zyx = read_volume(data / "ct" / f"{name}_labels.nii.gz").array_zyx
            predicted_zyx = read_volume(work / f"fold{index}" / "predictions" / f"{name}.nii.gz").array_zyx
            wrong = [
                int(((truth_zyx == one) & (predicted_zyx == other)).sum())
                for one, other in ((RIGHT_KIDNEY, LEFT_KIDNEY), (LEFT_KIDNEY, RIGHT_KIDNEY))
            ]
            share = sum(wrong) / max(1, int(np.isin(truth_zyx, (RIGHT_KIDNEY, LEFT_KIDNEY)).sum()))
            lines.append(f"- {name}: {share:.4f} of the kidneys' voxels bear the name of the other side")
    return lines


def _link(folder: Path, file: Path) -> None:
    target = folder / file.name
    if not target.exists():
        target.symlink_to(file.resolve())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
