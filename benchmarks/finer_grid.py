"""Whether a finer grid than that of `weights/lite` pays: the same recipe at 4 x 3 x 3 mm, on patients left out.

Usage: FOLDS=0,1 python -m benchmarks.finer_grid DATA WORK REPORT

DATA holds ct/ and labels/ of the project's data. WORK keeps datasets, runs and predictions: an interrupted command goes
on from there. The first training, on painted CTs, is tested on all real ones; then comes one second training for each
fold of FOLDS (all, unless told), on the real CTs of the other folds. What it is compared with, the numbers of `lite`,
stands in the report of `leave_patients_out.py`: they are those of an average of three second trainings.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.leave_patients_out import FOLDS, asked_folds, by_case, link_scans, scored, tumors
from benchmarks.machine import dated
from flare_eval.accuracy.scores import CaseScores
from flare_eval.reports.summary import markdown_row
from flare_infer.labels import CODES, NAMES
from flare_infer.model.model_file import SPEC_FILE
from scripts.flare import segment
from scripts.starter_dataset import main as lay_out
from scripts.train_weights import EXPERTS, SHIPPED, Size, average, first_training, second_training

FINER: Final = Size(
    spacing_mm=(4.0, 3.0, 3.0),
    change="""
[spec]
name = "default"
spacing_mm = [4.0, 3.0, 3.0]
patch = [32, 80, 80]
network = { strides = [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]] }
""",
)
"""A smaller patch than that of `lite`, in millimeters even more so; the deepest stage keeps four planes."""

SECOND: Final = "benign"
ALONE: Final = replace(SHIPPED, shares={SECOND: 1.0})
"""Not an average: this gives the second training what the shipped model does with islands and tumors."""

LITE_REPORT: Final = Path(__file__).parent / "results" / "leave_patients_out.md"


def main(data: Path, work: Path, report: Path) -> None:
    """Train and segment, then write the report."""
    painted = work / "painted"
    first = first_training(painted, data / "labels", FINER)
    link_scans(data, painted, [name for names in FOLDS for name in names])
    segment(painted / "scans", painted / "predictions", first)
    folds = asked_folds()
    for index in folds:
        fold = work / f"fold{index}"
        write_real = partial(lay_out, data / "ct", held_out=FOLDS[index])
        made = second_training(fold / SECOND, painted, EXPERTS[SECOND], write_real, FINER)
        if not (fold / "weights" / SPEC_FILE).is_file():
            average(ALONE, {SECOND: made}, fold / "weights")
        link_scans(data, fold, FOLDS[index])
        segment(fold / "scans", fold / "predictions", fold / "weights")
    report.write_text("\n".join(written(data, work, folds)) + "\n", encoding="utf-8")


def written(data: Path, work: Path, folds: Sequence[int]) -> Iterator[str]:
    """The lines of the report on some folds."""
    everyone = [name for names in FOLDS for name in names]
    painted = scored(data, work / "painted", everyone)
    cases = [case for index in folds for case in scored(data, work / f"fold{index}", FOLDS[index])]
    lite = {row["case"]: row for row in table_of_lite("case")}
    lite_painted = {row["class"]: row["painted alone"] for row in table_of_lite("class")}
    names = [case.case for case in cases]
    yield "# A finer grid than that of `lite`"
    yield ""
    yield dated("finer_grid.py", "numpy")
    yield ""
    yield "Mean DSC on patients left out. In the first two columns are networks that learned from painted CTs alone, on"
    yield f"all {len(everyone)} test cases; those of the last two learned from real CTs, too, and are tested on"
    yield f"{len(names)} of them: {', '.join(names)}."
    yield "There, `lite` is an average of three second trainings, and the finer grid has one."
    yield ""
    yield markdown_row(("class", "painted: 4 mm", "painted: 4 x 3 x 3 mm", "cases", "`lite`, 4 mm", "4 x 3 x 3 mm"))
    yield markdown_row([":---"] + ["---:"] * 5)
    for code in CODES:
        of_lite = [float(lite[name][NAMES[code]]) for name in names if lite[name][NAMES[code]]]
        of_both = [_mean(painted, code), str(len(of_lite)), _number(of_lite), _mean(cases, code)]
        yield markdown_row([NAMES[code], lite_painted[NAMES[code]], *of_both])
    yield from ("", "## Case by case at 4 x 3 x 3 mm (DSC)", "", *by_case(cases), "", "## Tumors", "")
    yield from tumors(data, work, folds)


def _mean(cases: Iterable[CaseScores], code: int) -> str:
    return _number([case.dsc[code] for case in cases if code in case.dsc])


def _number(of_cases: Sequence[float]) -> str:
    return f"{np.mean(of_cases):.3f}" if of_cases else "-"


def table_of_lite(first_heading: str) -> Iterator[Mapping[str, str]]:
    """The rows of the table in the report on `lite` that has this heading in front, each by its headings."""
    headings: list[str] | None = None
    for line in LITE_REPORT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == first_heading:
            headings = cells
        elif headings is not None and not line.startswith("|"):
            return
        elif headings is not None and not cells[0].startswith(":"):
            yield dict(zip(headings, cells, strict=True))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
