"""The tables of a folder, from scores written by hand."""

import math
from pathlib import Path

import pytest

from flare_eval.accuracy.mode import Mode
from flare_eval.accuracy.scores import CaseScores, FolderScores
from flare_eval.reports.paper_tables import table_3, table_4
from flare_eval.reports.summary import notes, summarize, summarize_cases, to_markdown
from flare_eval.reports.write import scores_to_csv
from flare_infer import labels

TUMOR = (labels.TUMOR,)


@pytest.fixture
def scores() -> FolderScores:
    """Liver in three cases (one missing), right kidney in one, tumor in two; spleen is untrained."""
    return FolderScores(
        predictions=Path("predictions"),
        references=Path("references"),
        annotated_from=Path("annotated.json"),
        untrained=(3,),
        cases=(
            CaseScores(case="a", dsc={1: 1.0, 2: 0.9, 14: 0.4}, nsd={1: 0.9, 2: 0.7, 14: 0.1}, untrained=(3,)),
            CaseScores(case="b", dsc={1: 0.8, 14: 0.2}, nsd={1: 0.6, 14: 0.3}),
            CaseScores(case="c", dsc={1: 0.0}, nsd={1: 0.0}, missing=True),
        ),
        failed={"d": "d.nii.gz: broken"},
        unmatched=("e",),
    )


def test_organ_mean_is_the_mean_of_organ_means_without_tumor(scores: FolderScores) -> None:
    summary = summarize(scores)
    assert summary.scored(labels.ORGANS, "dsc") == (1, 2)
    assert summary.mean_of(labels.ORGANS, "dsc") == pytest.approx((0.6 + 0.9) / 2)
    assert summary.mean_of(labels.ORGANS, "nsd") == pytest.approx((0.5 + 0.7) / 2)
    assert summary.mean_of(TUMOR, "dsc") == pytest.approx(0.3)
    assert summary.mean_of(TUMOR, "nsd") == pytest.approx(0.2)


def test_rows_count_cases_and_show_the_spread(scores: FolderScores) -> None:
    lines = to_markdown(scores).splitlines()
    assert "| class | name | cases | mean DSC | sd | min | mean NSD | sd | min |" in lines
    # sample sd of 1.0, 0.8, 0.0 and of 0.9, 0.6, 0.0
    assert "| 1 | liver | 3 | 0.6000 | 0.5292 | 0.0000 | 0.5000 | 0.4583 | 0.0000 |" in lines
    assert "| 2 | right kidney | 1 | 0.9000 | - | 0.9000 | 0.7000 | - | 0.7000 |" in lines
    assert "| 3 | spleen | 1 | untrained | - | - | - | - | - |" in lines
    assert "| 4 | pancreas | 0 | - | - | - | - | - | - |" in lines
    assert "|  | **organ mean (2 of 13)** |  | **0.7500** |  |  | **0.6000** |  |  |" in lines
    assert "|  | **tumor** |  | **0.3000** |  |  | **0.2000** |  |  |" in lines


def test_nothing_scored_has_no_means(scores: FolderScores) -> None:
    empty = FolderScores(**{**vars(scores), "cases": ()})
    assert summarize(empty).mean_of(labels.ORGANS, "dsc") is None
    assert summarize(empty).mean_of(TUMOR, "nsd") is None
    assert "| 1 | liver | 0 | - | - | - | - | - | - |" in to_markdown(empty)
    assert "| Average | - | - |" in table_3(summarize(empty))["md"]


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
    assert scores_to_csv(scores).splitlines() == [
        "case,class,name,dsc,nsd",
        "a,1,liver,1.000000,0.900000",
        "a,2,right kidney,0.900000,0.700000",
        "a,3,spleen,,",
        "a,14,tumor,0.400000,0.100000",
        "b,1,liver,0.800000,0.600000",
        "b,14,tumor,0.200000,0.300000",
        "c,1,liver,0.000000,0.000000",
    ]


def test_official_means_are_rounded_at_each_step_and_keep_nan() -> None:
    cases = [
        CaseScores(case="a", dsc={1: 0.1111, 2: 0.5}, nsd={1: 1.0, 2: math.nan}),
        CaseScores(case="b", dsc={1: 0.1112, 2: 0.5}, nsd={1: 1.0, 2: 0.5}),
    ]
    official, fixed = (summarize_cases(cases, mode=mode) for mode in (Mode.OFFICIAL, Mode.FIXED))
    assert official.mean(1, "dsc") in {0.1111, 0.1112}  # the half between them, as numpy rounds it
    assert fixed.mean(1, "dsc") == pytest.approx(0.11115)
    assert math.isnan(official.mean_of(labels.ORGANS, "nsd"))


def test_table_3_is_in_percent_with_averages_as_in_the_paper(scores: FolderScores) -> None:
    cases = [
        CaseScores(case="a", dsc={1: 1.0, 2: 0.9, 14: 0.4}, nsd={1: 0.9, 2: 0.7, 14: 0.2}),
        CaseScores(case="b", dsc={1: 0.8, 2: 0.7, 14: 0.2}, nsd={1: 0.6, 2: 0.7, 14: 0.2}),
    ]
    lines = table_3(summarize_cases(cases))["md"].splitlines()
    assert lines[0] == "| Target | DSC (%) | NSD (%) |"
    assert "| Liver | 90.00 ± 14.14 | 75.00 ± 21.21 |" in lines
    assert "| Spleen | - | - |" in lines
    assert lines[-3:] == [
        "| Tumor | 30.00 ± 14.14 | 20.00 ± 0.00 |",
        "| Average organ | 85.00 ± 14.14 | 72.50 ± 10.61 |",  # mean of the organs' deviations
        "| Average | 66.67 ± 14.14 | 55.00 ± 7.07 |",
    ]
    rows = table_3(summarize_cases(cases))["csv"].splitlines()
    assert rows[0] == "target,dsc_mean,dsc_sd,nsd_mean,nsd_sd"
    assert rows[1] == "Liver,90.00,14.14,75.00,21.21"
    assert rows[3] == "Spleen,,,,"


def test_table_4_stands_side_by_side(scores: FolderScores) -> None:
    summaries = {"labeled": summarize(scores), "un|labeled": summarize_cases([scores.cases[0]])}
    lines = table_4(summaries)["md"].splitlines()
    assert lines[0] == "| Target | labeled DSC (%) | labeled NSD (%) | un\\|labeled DSC (%) | un\\|labeled NSD (%) |"
    assert lines[2] == "| Liver | 60.00 | 50.00 | 100.00 | 90.00 |"
    assert lines[5] == "| Pancreas | - | - | - | - |"
    assert table_4(summaries)["csv"].splitlines()[1] == "Liver,60.00,50.00,100.00,90.00"


def test_latex_has_the_same_cells() -> None:
    cases = [CaseScores(case=case, dsc={1: dsc}, nsd={1: 0.5}) for case, dsc in (("a", 1.0), ("b", 0.8))]
    lines = table_3(summarize_cases(cases))["tex"].splitlines()
    assert lines[:5] == [
        r"\begin{tabular}{lrr}",
        r"\hline",
        r"Target & DSC (\%) & NSD (\%) \\",
        r"\hline",
        r"Liver & 90.00 $\pm$ 14.14 & 50.00 $\pm$ 0.00 \\",
    ]
    assert r"Spleen & - & - \\" in lines
    assert lines[-2:] == [r"\hline", r"\end{tabular}"]


def test_every_name_of_a_submission_is_text_in_latex(scores: FolderScores) -> None:
    lines = table_4({"a_b|c": summarize(scores), r"50 % & #1 {\~^$<>}": summarize(scores)})["tex"].splitlines()
    first = r"a\_b\textbar{}c"
    second = r"50 \% \& \#1 \{\textbackslash{}\textasciitilde{}\textasciicircum{}\$\textless{}\textgreater{}\}"
    cells = [f"{name} {metric} (\\%)" for name in (first, second) for metric in ("DSC", "NSD")]
    assert lines[2] == " & ".join(["Target", *cells]) + r" \\"
    assert lines[4] == r"Liver & 60.00 & 50.00 & 60.00 & 50.00 \\"


def test_the_official_mean_of_organs_is_one_of_rounded_means_and_rounded_itself() -> None:
    cases = [CaseScores(case="a", dsc={1: 0.1, 2: 0.1001, 3: 0.1001}, nsd={1: 0.00004, 2: 0.00004, 3: 0.00004})]
    official, fixed = (summarize_cases(cases, mode=mode) for mode in (Mode.OFFICIAL, Mode.FIXED))
    assert official.mean_of(labels.ORGANS, "dsc") == 0.1001  # 0.10006...
    assert fixed.mean_of(labels.ORGANS, "dsc") == pytest.approx(0.3002 / 3, abs=1e-12)
    assert official.mean_of(labels.ORGANS, "nsd") == 0.0, "three means of 0.00004 are rounded to nothing each"
