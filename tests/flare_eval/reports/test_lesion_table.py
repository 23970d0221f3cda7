"""The table of lesions, its lines and its files, of folders small enough to count by hand."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from flare_eval.accuracy.lesions import CaseLesions, ScoredLesion
from flare_eval.accuracy.scores import CaseScores, FolderScores
from flare_eval.accuracy.scoring import score_folder
from flare_eval.commands.app import app
from flare_eval.reports.lesion_table import lesion_lines, lesion_section, lesion_table, lesions_to_csv, size_rows
from flare_infer.results.case import CaseStatistics, Lesion
from flare_infer.results.statistics_files import write_statistics


def ball(number: int, diameter_mm: float, dsc: float | None = None, iou: float = 0.0) -> ScoredLesion:
    return ScoredLesion(
        number=number,
        volume_ml=np.pi / 6 * diameter_mm**3 / 1000,
        center_mm=(0, 0, 0),
        partner=None if dsc is None else 1,
        dsc=dsc or 0.0,
        iou=iou,
        best_iou=iou,
        touched=iou > 0,
    )


def test_rows_by_size() -> None:
    case = CaseLesions(
        reference=(
            ball(1, 60.0, dsc=0.8, iou=0.7),
            ball(2, 30.0, dsc=0.3, iou=0.2),
            ball(3, 20.001, iou=0.05),
            ball(4, 12.0),
            ball(5, 9.99, dsc=0.5, iou=0.4),
        )
    )
    rows = [row.cells for row in size_rows([case, case])]
    assert rows == [
        ("< 10", "2", "2", "2", "0", "100.0", "0.5000"),
        ("10 to 20", "2", "0", "0", "0", "0.0", "-"),
        ("20 to 50", "4", "4", "2", "0", "50.0", "0.3000"),
        (">= 50", "2", "2", "2", "2", "100.0", "0.8000"),
        ("all", "10", "8", "6", "2", "60.0", "0.5333"),
    ]
    assert [row.cells[-2:] for row in size_rows([])] == [("-", "-")] * 5


def folder_of(*cases: CaseScores) -> FolderScores:
    return FolderScores(
        predictions=Path("p"),
        references=Path("r"),
        annotated_from=None,
        untrained=(),
        cases=cases,
        failed={},
        unmatched=(),
    )


def test_cases_that_are_not_counted_are_named() -> None:
    scores = folder_of(
        CaseScores(case="a", dsc={1: 1.0}),
        CaseScores(case="b", dsc={1: 1.0, 14: 0.0}, missing=True),
        CaseScores(case="c", dsc={1: 1.0}),
    )
    assert lesion_table(scores) is None
    assert lesion_lines(scores) == [
        "in no count of lesions, tumors are not scored there: a, c",
        "in no count of lesions, the reference cannot be read: b",
    ]
    assert lesion_section(scores).count("|") == 0
    assert len(lesions_to_csv(scores).splitlines()) == 1


@pytest.fixture
def folders(draw, save, tmp_path: Path) -> Path:
    """Two cases with tumors and one in which they are not annotated."""
    save("references/a.nii.gz", draw("TTTT..T."))
    save("predictions/a.nii.gz", draw("TTT....."))
    save("references/b.nii.gz", draw("........"))
    save("predictions/b.nii.gz", draw("T..TT..."))
    save("references/c.nii.gz", draw("1......."))
    save("predictions/c.nii.gz", draw("1..T...."))
    (tmp_path / "references/annotated.json").write_text(json.dumps({"default": [1, 14], "c": [1]}))
    return tmp_path


def confide(folder: Path, case: str, *lesions: tuple[float, float]) -> None:
    records = tuple(
        Lesion(
            number=number,
            volume_ml=0.002,
            longest_axial_mm=1.0,
            perpendicular_mm=1.0,
            organ="",
            intensities=None,
            center_mm=(left, 0.0, 0.0),
            confidence=value,
        )
        for number, (left, value) in enumerate(lesions, start=1)
    )
    statistics = CaseStatistics(name=case, classes=(), lesions=records)
    write_statistics(folder / f"predictions/{case}.statistics.json", statistics)


def score(folder: Path) -> FolderScores:
    return score_folder(folder / "predictions", folder / "references")


def test_lines_without_confidences(folders: Path) -> None:
    assert lesion_lines(score(folders)) == [
        "false lesions: 2, 1.00 a scan; 2 of them touch no tumor",
        "no free-response curve, confidences are not known: a: no a.statistics.json beside the prediction",
        "in no count of lesions, tumors are not scored there: c",
    ]


def test_lines_with_confidences_of_some_cases_and_of_all(folders: Path) -> None:
    confide(folders, "a", (1.0, 0.9))
    lines = lesion_lines(score(folders))
    assert lines[1].startswith("sensitivity at false lesions a scan (1 case(s), 2 lesion(s)): 0.50 at 0.125, ")
    assert lines[2] == "not in the free-response curve: b: no b.statistics.json beside the prediction"
    confide(folders, "b", (3.5, 0.95), (0.0, 0.2))
    scores = score(folders)
    assert "0.00 at 0.25, 0.50 at 0.5, 0.50 at 1, " in lesion_lines(scores)[1]
    assert "| sensitivity | 0.0000 | 0.0000 | 0.5000 | 0.5000 | 0.5000 | 0.5000 | 0.5000 |\n" in lesion_section(scores)


def test_the_command_prints_the_table_and_writes_the_files(folders: Path) -> None:
    confide(folders, "a", (1.0, 0.9))
    confide(folders, "b", (3.5, 0.5), (0.0, 0.2))
    out = folders / "out"
    arguments = ["score", str(folders / "predictions"), str(folders / "references"), "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "lesions of 2 case(s), found from an IoU of 0.1" in result.stdout
    assert "false lesions: 2, 1.00 a scan" in result.stdout
    with (out / "lesions.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            (row["case"], row["map"], row["outcome"], row["cut"], row["confidence"]) for row in csv.DictReader(file)
        ]
    assert rows == [
        ("a", "reference", "found", "yes", ""),
        ("a", "reference", "missed", "yes", ""),
        ("a", "prediction", "true", "yes", "0.900000"),
        ("b", "prediction", "false", "yes", "0.500000"),
        ("b", "prediction", "false", "yes", "0.200000"),
    ]
    summary = (out / "summary.md").read_text(encoding="utf-8")
    assert "\n## Lesions\n\n| diameter (mm) |" in summary
    assert "| < 10 | 2 | 1 | 1 | 1 | 50.0 | 0.8571 |" in summary
    assert (out / "froc.csv").read_text().splitlines() == [
        "confidence,sensitivity,false_per_scan",
        "0.900000,0.500000,0.000000",
        "0.500000,0.500000,0.500000",
        "0.200000,0.500000,1.000000",
    ]


def test_the_table_fits_a_terminal(folders: Path) -> None:
    table = lesion_table(score(folders))
    assert table is not None
    assert Console(width=200).measure(table).minimum <= 80
