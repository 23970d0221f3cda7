"""Write the files of reports: tables as CSV, Markdown and LaTeX, and pictures."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flare_eval.accuracy.pairing import PredictionPair, find_references
from flare_eval.accuracy.scores import FolderScores
from flare_eval.efficiency.case_run import EFFICIENCY_FILE, CaseRun, runs_to_csv
from flare_eval.efficiency.curve import Curve
from flare_eval.efficiency.measure import MeasuredCase, images_to_run
from flare_eval.label_maps.csv_text import csv_text
from flare_eval.reports.charts import chart_of_classes, chart_of_memory, chart_of_tumors, to_picture
from flare_eval.reports.comparison import comparison, summaries_of
from flare_eval.reports.lesion_table import froc_to_csv, lesion_section, lesions_to_csv
from flare_eval.reports.paper_tables import table_3, table_4, table_5
from flare_eval.reports.pictures import choose_examples, draw_examples
from flare_eval.reports.ranking import Tolerances
from flare_eval.reports.submission import SCORES_FILE, Submission
from flare_eval.reports.summary import summarize, to_markdown
from flare_infer.errors import MissingExtraError, UsageError
from flare_infer.files.write_whole import write_whole
from flare_infer.formats.volume_io import find_images, is_image_channel

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

CSV_HEADER: Final = ("case", "class", "name", "dsc", "nsd")
"""Names of the columns of `scores.csv`; `class` is the code."""


def write_score_report(folder: Path, scores: FolderScores) -> None:
    """Write the tables of a scored folder; each file appears only when complete.

    `scores.csv`, `volumes.csv`, `lesions.csv`, `froc.csv`, `summary.md`, and the paper's Table 3 as `table3.md`, `.csv`
    and `.tex`.

    Raises:
        UsageError: if the folder cannot be made or written to.
    """
    _write_files(
        folder,
        {
            SCORES_FILE: scores_to_csv(scores),
            "volumes.csv": volumes_to_csv(scores),
            "lesions.csv": lesions_to_csv(scores),
            "froc.csv": froc_to_csv(scores),
            "summary.md": to_markdown(scores) + lesion_section(scores),
            **{f"table3.{ending}": text for ending, text in table_3(summarize(scores)).items()},
        },
    )


def write_pictures(folder: Path, scores: FolderScores, images: Path | None) -> list[str]:
    """Write `tumor.png` (if a case has a tumor), `dsc.png`, `nsd.png` and `cases.png` into the folder of the report.

    Args:
        folder: folder of the report.
        scores: scores of a folder.
        images: folder of the CTs, matched by case name; None takes each CASE_0000 beside the references.

    Returns:
        one line for each picture that could not be drawn, and one for the cases that are drawn without their CT.

    Raises:
        MissingExtraError: if matplotlib or Pillow is not installed.
        UsageError: if a picture cannot be written, or `images` is not a folder of CTs.
        ImageError: if a file of a case that is shown cannot be read.
    """
    label_set = scores.classes.label_set
    charts = {"tumor": chart_of_tumors(scores.cases, label_set)}
    charts |= {metric: chart_of_classes(scores.cases, metric, label_set) for metric in ("dsc", "nsd")}
    for name, chart in charts.items():
        if chart is not None:
            _write_picture(folder / f"{name}.png", to_picture(chart))
    pairs = _pairs_of(scores)
    lines = []
    scans = _scans_beside(scores.references) if images is None else images_to_run(images)
    drawn = choose_examples(scores.cases, pairs, scans)
    if drawn:
        figure, without_scan = draw_examples(drawn)
        _write_picture(folder / "cases.png", to_picture(figure))
        if without_scan:
            named = ", ".join(without_scan)
            lines.append(f"cases.png shows labels alone for {named}: no CT on their grid; --images FOLDER names CTs")
    else:
        lines.append("no case with a prediction and a scored class: no picture of the best and worst")
    return lines


def write_comparison(folder: Path, submissions: Sequence[Submission], tolerances: Tolerances) -> None:
    """Write `comparison.md`, and where there are scores the paper's Table 4 as `table4.md`, `.csv` and `.tex`.

    Raises:
        UsageError: if the folder cannot be written to, or the submissions cannot be compared.
    """
    files: dict[str, str | bytes] = {"comparison.md": comparison(submissions, tolerances)}
    if summaries := summaries_of(submissions):
        files |= {f"table4.{ending}": text for ending, text in table_4(summaries).items()}
    _write_files(folder, files)


def write_efficiency(folder: Path, measured: Sequence[MeasuredCase]) -> list[str]:
    """Write `efficiency.csv`, the paper's Table 5 as `table5.md`, and the curves of each case as CSV and picture.

    Returns:
        one line that says why there are no pictures; no line if there are.

    Raises:
        UsageError: if the folder cannot be written to.
    """
    runs: list[CaseRun] = [case.run for case in measured]
    _write_files(folder, {EFFICIENCY_FILE: runs_to_csv(runs), "table5.md": table_5(runs)})
    _write_files(folder / "curves", {f"{case.run.case}.csv": curves_to_csv(case.curves) for case in measured})
    try:
        for case in measured:
            chart = chart_of_memory(case.run.case, case.curves)
            if chart is not None:
                _write_picture(folder / "curves" / f"{case.run.case}.png", to_picture(chart))
    except MissingExtraError as error:
        return [str(error)]
    return []


def scores_to_csv(scores: FolderScores) -> str:
    """The content of `scores.csv`: a row for each class that a case annotates; untrained classes have empty scores."""
    names = scores.classes.label_set.names
    rows = [
        (case.case, code, names[code], _score(case.dsc.get(code)), _score(case.nsd.get(code)))
        for case in scores.cases
        for code in sorted([*case.dsc, *case.untrained])
    ]
    return csv_text(CSV_HEADER, rows)


def volumes_to_csv(scores: FolderScores) -> str:
    """Volume of each scored class in the reference, in milliliters; cases without a prediction are not measured."""
    names = scores.classes.label_set.names
    rows = [
        (case.case, code, names[code], f"{volume:.4f}")
        for case in scores.cases
        for code, volume in case.reference_ml.items()
    ]
    return csv_text(("case", "class", "name", "reference_ml"), rows)


def curves_to_csv(curves: Mapping[str, Curve]) -> str:
    """One row for each sample: name of the memory, seconds from the start, and MB."""
    rows = [
        (name, f"{second:.3f}", f"{mb:.2f}")
        for name, curve in curves.items()
        for second, mb in zip(curve.seconds, curve.mb, strict=True)
    ]
    return csv_text(("memory", "seconds", "mb"), rows)


def _write_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write texts or bytes, by file name, into a folder, made if need be; each file appears only when complete.

    Raises:
        UsageError: if the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_whole(folder / name, text, explained=False)
    except OSError as error:
        raise UsageError(f"{folder}: cannot write here ({error.strerror}); choose another output folder") from error


def _write_picture(path: Path, picture: "Picture") -> None:
    """Write a PNG, which appears only when complete.

    Raises:
        UsageError: if it cannot be written.
    """
    content = io.BytesIO()
    picture.save(content, format="PNG")
    _write_files(path.parent, {path.name: content.getvalue()})


def _pairs_of(scores: FolderScores) -> dict[str, PredictionPair]:
    """The files of the scored cases, with the classes that were scored."""
    predictions = find_images(scores.predictions)
    references = find_references(scores.references)
    return {
        case.case: PredictionPair(
            case=case.case,
            reference=references[case.case],
            prediction=predictions[case.case],
            annotated=tuple(case.dsc),
            classes=scores.classes,
        )
        for case in scores.cases
        if case.case in predictions and case.case in references
    }


def _scans_beside(references: Path) -> dict[str, Path]:
    """The CTs in the folder of references, by case name."""
    return {case: path for case, path in find_images(references).items() if is_image_channel(path)}


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
