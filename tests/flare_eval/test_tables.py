"""The table of a folder, from scores written by hand."""

from pathlib import Path

import pytest

from flare_eval.report import to_csv
from flare_eval.scoring import CaseScores, FolderScores
from flare_eval.tables import notes, summarize, to_markdown


@pytest.fixture
def scores() -> FolderScores:
    """Liver in three cases (one missing), right kidney in one, tumor in two; spleen is untrained."""
    return FolderScores(
        predictions=Path("predictions"),
        references=Path("references"),
        annotated_from=Path("annotated.json"),
        untrained=(3,),
        cases=(
            CaseScores(case="a", dsc={1: 1.0, 2: 0.9, 14: 0.4}, untrained=(3,)),
            CaseScores(case="b", dsc={1: 0.8, 14: 0.2}),
            CaseScores(case="c", dsc={1: 0.0}, missing=True),
        ),
        failed={"d": "d.nii.gz: broken"},
        unmatched=("e",),
    )


def test_organ_mean_is_the_mean_of_organ_means_without_tumor(scores: FolderScores) -> None:
    summary = summarize(scores)
    assert summary.organ_means == (pytest.approx(0.6), pytest.approx(0.9))
    assert summary.organ_mean == pytest.approx(0.75)
    assert summary.tumor_mean == pytest.approx(0.3)


def test_rows_count_cases_and_show_the_spread(scores: FolderScores) -> None:
    lines = to_markdown(scores).splitlines()
    assert "| class | name | cases | mean DSC | sd | min |" in lines
    assert "| 1 | liver | 3 | 0.6000 | 0.5292 | 0.0000 |" in lines  # sample sd of 1.0, 0.8, 0.0
    assert "| 2 | right kidney | 1 | 0.9000 | - | 0.9000 |" in lines
    assert "| 3 | spleen | 1 | untrained | - | - |" in lines
    assert "| 4 | pancreas | 0 | - | - | - |" in lines
    assert "|  | **organ mean (2 of 13)** |  | **0.7500** |  |  |" in lines
    assert "|  | **tumor** |  | **0.3000** |  |  |" in lines


def test_nothing_scored_has_no_means(scores: FolderScores) -> None:
    empty = FolderScores(**{**vars(scores), "cases": ()})
    assert summarize(empty).organ_mean is None
    assert summarize(empty).tumor_mean is None
    assert "| 1 | liver | 0 | - | - | - |" in to_markdown(empty)


def test_notes_name_every_case_that_stands_out(scores: FolderScores) -> None:
    assert notes(scores) == [
        "annotated classes from annotated.json",
        "untrained, left out: 3 spleen",
        "missing prediction, counted as 0: c",
        "failed, in no mean: d: d.nii.gz: broken",
        "prediction without a reference, not scored: e",
    ]
    assert all(f"- {line}\n" in to_markdown(scores) for line in notes(scores))


def test_csv_has_one_row_for_each_annotated_class(scores: FolderScores) -> None:
    assert to_csv(scores).splitlines() == [
        "case,class,name,dsc,nsd",
        "a,1,liver,1.000000,",
        "a,2,right kidney,0.900000,",
        "a,3,spleen,,",
        "a,14,tumor,0.400000,",
        "b,1,liver,0.800000,",
        "b,14,tumor,0.200000,",
        "c,1,liver,0.000000,",
    ]
