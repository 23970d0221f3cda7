"""How well the shipped weights do on the real CTs: DSC of each class, with how many training cases annotate it.

Usage: python benchmarks/starter_weights.py DATA WEIGHTS REPORT

DATA holds ct/NAME_0000.nii.gz, ct/NAME_labels.nii.gz and ct/annotated.json. Cases named in the weights' own model.json
were seen in training and are reported apart: their scores say how well the model fits, not how well it does.
"""

import datetime
import os
import platform
import resource
import statistics
import sys
import tempfile
from pathlib import Path

import torch

from flare_eval.scoring import Pair, score_case
from flare_infer.annotated import read_annotations
from flare_infer.folder import CaseResult, predict_cases
from flare_infer.labels import CODES, NAMES
from flare_infer.segmenter import Segmenter

NEVER_A_TEST_CASE = "lits117_crop"
"""Its header does not say where and how large its voxels are."""


def main(data: Path, weights: Path, report: Path) -> None:
    """Segment and score every case, and write the report."""
    segmenter = Segmenter.load(weights, torch.device("cpu"))
    annotations = read_annotations(data / "ct" / "annotated.json")
    trained_on = [name for name in segmenter.spec.training["cases"] if name != NEVER_A_TEST_CASE]
    images = {name: data / "ct" / f"{name}_0000.nii.gz" for name in annotations.cases if name != NEVER_A_TEST_CASE}
    unseen = [name for name in images if name not in trained_on]
    scores: dict[str, dict[int, float]] = {}
    timings = []
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder)
        for name in (*unseen, *trained_on):
            (result,) = predict_cases(segmenter, {name: images[name]}, outputs)
            if result.output is None:
                raise SystemExit(result.reason)
            reference = data / "ct" / f"{name}_labels.nii.gz"
            pair = Pair(case=name, reference=reference, prediction=result.output, annotated=annotations.codes_of(name))
            scores[name] = dict(score_case(pair, segmenter.spec.untrained).dsc)
            timings.append(_timing(result))
            print(timings[-1], scores[name], flush=True)
    lines = [
        f"# {segmenter.spec.name} on real CTs",
        "",
        f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}, {_machine()}. Written by `benchmarks/starter_weights.py`.",
        "",
        *_table(segmenter, scores, unseen),
        "",
        "`training cases`: how many of the cases that the weights were trained on annotate the class. The last column",
        "is the mean over these same cases: it shows how well the model fits them, and is no measure of its quality.",
        "",
        f"Seconds a case (reading and writing included, model loaded once): {'; '.join(timings[: len(unseen)])}.",
        f"Peak resident memory of the whole run: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB.",
    ]
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(segmenter: Segmenter, scores: dict[str, dict[int, float]], unseen: list[str]) -> list[str]:
    lines = [
        f"| code | class | training cases | {' | '.join(f'{name} (unseen)' for name in unseen)} | seen cases |",
        "|---|---|---|" + "---|" * (len(unseen) + 1),
    ]
    for code in CODES:
        seen = [dsc[code] for name, dsc in scores.items() if name not in unseen and code in dsc]
        cells = [_cell([scores[name][code]]) if code in scores[name] else "not annotated" for name in unseen]
        count = segmenter.spec.training["annotated_cases"][str(code)] or "untrained"
        lines.append(f"| {code} | {NAMES[code]} | {count} | {' | '.join(cells)} | {_cell(seen)} |")
    return lines


def _cell(values: list[float]) -> str:
    return f"{statistics.fmean(values):.3f}" if values else "-"


def _timing(result: CaseResult) -> str:
    return f"{result.name} {result.seconds:.1f} s"


def _machine() -> str:
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{platform.machine()} CPU, {os.cpu_count()} cores, {versions}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
