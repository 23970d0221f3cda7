"""The whole protocol on a cohort painted on real label maps: `flare-train pipeline` from labels withheld to scores.

Usage: python -m benchmarks.pipeline MAPS WORK REPORT [STEPS]

MAPS holds folders of label maps, organs8, liver_tumor and kidney_tumor. WORK keeps everything; killed at any moment,
the same command goes on. STEPS of each training run, 1000 if left out. Beside the pipeline the coarse model is trained
once more by single commands, without the unlabeled cases: the paper's Table 4.
"""

import csv
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from benchmarks.machine import dated
from flare_eval.accuracy.scoring import score_folder
from flare_infer.labels import ORGANS, TUMOR
from train.synth.cohort import NOISE_FILE, write_cohort
from train.synth.cohort_plan import cohort_plan_of
from train.workflow.stamp import read_stamp

CONFIG = """\
run = "run"
data = { dataset = "cohort", unlabeled = "cohort/imagesUnlabeled" }
machine = { device = "cpu", workers = 2 }

[fine]
recipe = "lite"
seeds = [1, 2]
[fine.change]
steps = STEPS
spec = { name = "fine", spacing_mm = [4.0, 5.0, 5.0], SMALL }
SHORT

[coarse]
recipe = "lite"
[coarse.change]
steps = STEPS
cutmix = true
cleaning = true
unlabeled = true
spec = { name = "coarse", spacing_mm = [5.0, 5.0, 5.0], SMALL }
SHORT

[pseudo]
organs = ["fine-1", "fine-2"]
tumor = ["fine-1", "fine-2"]
select = 8
with_tumor = 2

[[test]]
name = "validation"
images = "test/images"
labels = "test/labels"
"""

SMALL = "patch = [32, 48, 48], network = { features = [16, 32, 64, 96, 128] }"
SHORT = """\
sampling = { type_sampling = "paired", paired_after = 0, foreground = 0.9, organ_center_keep = 0.2 }
optimization = { learning_rate = 0.006, warmup = 50 }
augmentation = { spatial = { rotation_probability = 0.0, scale_probability = 0.0 } }\
"""
"""What lets a small network get somewhere in a few minutes, as in `partial_labels`."""

PLAN = cohort_plan_of(24, unlabeled=12, validation=4, noisy=0.5)


def main(maps: Path, work: Path, report: Path, steps: int = 1000) -> None:
    """Paint, run and report."""
    work = work.resolve()
    _paint(maps, work)
    config = CONFIG.replace("SMALL", SMALL).replace("SHORT", SHORT).replace("STEPS", str(steps))
    (work / "pipeline.toml").write_text(config, encoding="utf-8")
    run = work / "run"
    _command("flare-train", "pipeline", work / "pipeline.toml")
    without = _without_unlabeled(work)
    lines = [
        "# The whole protocol on a painted cohort",
        "",
        dated("pipeline.py", "numpy", "scipy", "blosc2"),
        "",
        f"{sum(group.cases for group in PLAN.groups)} cases that train, of seven label types, {PLAN.unlabeled} without "
        f"labels and {PLAN.validation} that validate, painted at 4 mm on real label maps; {steps} steps a training run."
        " What is painted is easier than CTs: this shows that the protocol runs and what its stages do, not how well a "
        "model does on patients.",
        "",
        *_stages(run),
        *_pseudo_labels(work, run),
        *_cleaning(work, run),
        *_scores(work, run, without),
    ]
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _paint(maps: Path, work: Path) -> None:
    cohort = work / "cohort"
    if not (cohort / NOISE_FILE).exists():  # it is written last
        shutil.rmtree(cohort, ignore_errors=True)
        write_cohort(cohort, PLAN, maps)
    for kind, name in (("images", "imagesTr"), ("labels", "labelsTr")):
        (work / "test" / kind).mkdir(parents=True, exist_ok=True)
        for path in (cohort / name).glob("validation*"):
            link = work / "test" / kind / path.name
            link.unlink(missing_ok=True)
            link.symlink_to(path)


def _without_unlabeled(work: Path) -> Path:
    """The coarse model by single commands, from what the pipeline left, but without the unlabeled cases.

    Returns:
        its label maps of the validation cases.
    """
    run = work / "run"
    stamp = read_stamp(run, "fit-coarse")
    # A folder for everything that went into the pipeline's model: no other one is gone on with.
    place = work / f"without-{'' if stamp is None else stamp.sha256[:8]}"
    recipe = ("--recipe", "lite", "--config", run / "recipes" / "coarse.toml")
    merged, store, objects, fitted, weights, labels = (
        place / name for name in ("merged", "store", "objects", "run", "weights", "labels")
    )
    filled = ("--weights", run / "fine" / "weights", "--organs", run / "pseudo" / "filling")
    _command("flare-train", "merge", work / "cohort", merged, *filled, "--workers", 2)
    _command("flare-train", "prepare", merged, store, *recipe, "--workers", 2)
    _command("flare-train", "objects", merged, objects, "--store", store, *recipe, "--workers", 2)
    _command("flare-train", "fit", store, fitted, *recipe, "--objects", objects, "--device", "cpu")
    _command("flare-train", "export", fitted, store, weights)
    _command("flare-infer", "predict", work / "test" / "images", labels, "--weights", weights, "--device", "cpu")
    return labels


def _command(*arguments: object) -> None:
    program, *rest = (str(argument) for argument in arguments)
    module = {"flare-train": "train.commands.app", "flare-infer": "flare_infer.commands.app"}[program]
    subprocess.run([sys.executable, "-c", f"from {module} import main; main()", *rest], check=True)


def _stages(run: Path) -> list[str]:
    """Seconds of every stage, by its stamp."""
    names = [path.stem for path in sorted((run / "stamps").glob("*.json"), key=lambda path: path.stat().st_mtime)]
    stamps = {name: read_stamp(run, name) for name in names}
    seconds = {name: stamp.seconds for name, stamp in stamps.items() if stamp is not None}
    rows = [f"| {name} | {value:.0f} |" for name, value in seconds.items()]
    total = f"| **all** | **{sum(seconds.values()):.0f}** |"
    return ["| stage | seconds |", "|:---|---:|", *rows, total, ""]


def _pseudo_labels(work: Path, run: Path) -> list[str]:
    """Whether what is selected is better than what is not: against the truth, which only painted cases have."""
    selection = json.loads((run / "pseudo" / "selection" / "selection.json").read_text(encoding="utf-8"))
    truth = work / "truth_of_unlabeled"
    truth.mkdir(exist_ok=True)
    for path in (work / "cohort" / "truth").glob("unlabeled*"):
        link = truth / path.name
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    scores = {case.case: case.dsc for case in score_folder(run / "pseudo" / "unlabeled", truth).cases}
    chosen = {*selection["keep_tumor"], *selection["hosts"]}
    groups = {"selected": chosen, "left out": scores.keys() - chosen}
    rows = [
        f"| {name} | {len(cases)} | {_mean(scores[case][code] for case in cases for code in ORGANS):.3f} |"
        for name, cases in groups.items()
    ]
    tumors = {
        "keep their tumors": set(selection["keep_tumor"]),
        "do not": scores.keys() - set(selection["keep_tumor"]),
    }
    rows += [
        f"| unlabeled that {name} | {len(cases)} | {_mean(scores[case][TUMOR] for case in cases):.3f} (tumor) |"
        for name, cases in tumors.items()
    ]
    head = "## Pseudo labels against the truth"
    return [head, "", "| cases | number | mean DSC of 13 organs |", "|:---|---:|---:|", *rows, ""]


def _cleaning(work: Path, run: Path) -> list[str]:
    noise = _rows(work / "cohort" / NOISE_FILE)
    found = _rows(run / "cleaned" / "findings.csv")
    rules = {rule: sum(row["rule"] == rule for row in found) for rule in ("small", "outside", "far")}
    named = ", ".join(f"{count} {rule}" for rule, count in rules.items())
    return [
        "## Cleaning",
        "",
        f"{len(noise)} false tumors were painted into labels on purpose; cleaning removed {len(found)} components of"
        f" all classes ({named}), pseudo labels included.",
        "",
    ]


def _scores(work: Path, run: Path, without: Path) -> list[str]:
    folders = {"with unlabeled cases": run / "test" / "validation" / "labels", "without": without}
    rows = []
    for name, folder in folders.items():
        cases = score_folder(folder, work / "test" / "labels").cases
        dsc = [case.dsc for case in cases]
        nsd = [case.nsd for case in cases]
        values = [
            _mean(case[code] for case in each for code in codes) for codes in (ORGANS, (TUMOR,)) for each in (dsc, nsd)
        ]
        rows.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    return [
        "## The coarse model on the validation cases, with and without unlabeled cases (Table 4)",
        "",
        "| trained | organ DSC | organ NSD | tumor DSC | tumor NSD |",
        "|:---|---:|---:|---:|---:|",
        *rows,
        "",
    ]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _mean(values: Iterable[float]) -> float:
    listed: Collection[float] = list(values)
    return statistics.fmean(listed) if listed else float("nan")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]), *(int(argument) for argument in sys.argv[4:]))
