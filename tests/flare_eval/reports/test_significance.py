"""Intervals, paired tests and ranks against arithmetic by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from flare_eval.accuracy.scores import CaseScores
from flare_eval.efficiency.case_run import CaseRun
from flare_eval.reports.comparison import comparison
from flare_eval.reports.paper_tables import table_5
from flare_eval.reports.ranking import Tolerances, rank
from flare_eval.reports.significance import compare_paired, holm, mean_interval, score_matrix, wilcoxon_p
from flare_eval.reports.submission import Submission, read_submission
from flare_eval.reports.write import write_comparison
from flare_infer.errors import DatasetError, UsageError


def scored(name: str, organs: list[float], tumors: list[float] | None = None, **runs: CaseRun) -> Submission:
    """A submission with one organ, and perhaps tumor, in the cases "0", "1", ...; NSD equals DSC."""
    cases = {}
    for number, organ in enumerate(organs):
        dsc = {1: organ} | ({14: tumors[number]} if tumors else {})
        cases[str(number)] = CaseScores(case=str(number), dsc=dsc, nsd=dsc)
    return Submission(name=name, scores=cases, efficiency=runs)


def run(seconds: float, gpu_mb: float | None = None, area: float | None = None) -> CaseRun:
    return CaseRun(
        case="0",
        size=None,
        seconds=seconds,
        exit_code=0,
        ram_max_mb=None,
        ram_area_mb_s=None,
        gpu_before_mb=None,
        gpu_max_mb=gpu_mb,
        gpu_area_mb_s=area,
        gpu_area_weighted_mb_s=None,
        output=True,
    )


def test_an_interval_of_equal_scores_is_a_point() -> None:
    interval = mean_interval(np.full((7, 2), 0.25))
    assert interval is not None
    assert (interval.low, interval.high) == (pytest.approx(0.25), pytest.approx(0.25))


def test_an_interval_is_that_of_the_normal_law_for_many_cases() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, size=(400, 1))
    interval = mean_interval(values)
    assert interval is not None
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.002)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.002)
    assert mean_interval(values) == interval  # the same draw every time


def test_an_interval_of_class_means_weighs_classes_not_scores() -> None:
    scores = np.array([[1.0, np.nan], [1.0, np.nan], [1.0, 0.0], [1.0, 0.0]])
    interval = mean_interval(scores)
    assert interval is not None
    assert interval.low == 0.5  # the mean of a class of ones and a class of zeros


def test_one_case_has_no_interval() -> None:
    assert mean_interval(np.array([[0.5]])) is None
    assert mean_interval(np.array([[0.5], [np.nan]])) is None
    assert score_matrix([], (1, 2), "dsc").shape == (0, 2)


def test_wilcoxon_by_hand() -> None:
    # Five differences of one sign: the exact two-sided p is 2 / 2**5.
    assert wilcoxon_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0])) == pytest.approx(2 / 32)
    assert wilcoxon_p(np.zeros(4)) == 1.0


def test_holm_by_hand() -> None:
    assert holm({1: 0.01, 2: 0.04, 3: 0.03}) == {1: pytest.approx(0.03), 3: pytest.approx(0.06), 2: pytest.approx(0.06)}
    assert holm({1: 0.9, 2: 0.8}) == {2: 1.0, 1: 1.0}


def test_pairs_are_the_common_cases_and_the_second_minus_the_first() -> None:
    first, second = scored("a", [0.1, 0.2, 0.3]), scored("b", [0.2, 0.4, 0.3, 0.9])
    results = compare_paired(tuple(first.scores.values()), tuple(second.scores.values()))
    assert [(result.code, result.metric, result.cases) for result in results] == [(1, "dsc", 3), (1, "nsd", 3)]
    assert results[0].difference == pytest.approx(0.1)
    assert results[0].p == wilcoxon_p(np.array([0.1, 0.2]))


def test_ranks_are_averaged_over_cases_then_metrics() -> None:
    a, b, c = scored("a", [0.9, 0.5]), scored("b", [0.8, 0.6]), scored("c", [0.7, 0.4])
    ranking = rank([a, b, c])
    assert ranking.ranks == {
        "organ DSC": {"a": 1.5, "b": 1.5, "c": 3.0},
        "organ NSD": {"a": 1.5, "b": 1.5, "c": 3.0},
    }
    assert ranking.overall == {"a": 1.5, "b": 1.5, "c": 3.0}
    assert ranking.names == ("a", "b", "c")
    assert ranking.stability["c"] == 0.0
    assert ranking.stability["a"] + ranking.stability["b"] == pytest.approx(1.0)


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    ranking = rank([scored("a", [0.5]), scored("b", [0.5]), scored("c", [0.1])])
    assert ranking.overall == {"a": 1.5, "b": 1.5, "c": 3.0}


def test_a_case_that_is_lacking_or_nan_is_the_worst() -> None:
    ranking = rank([scored("a", [0.5, 0.5]), scored("b", [0.9])])
    assert ranking.ranks["organ DSC"] == {"a": 1.5, "b": 1.5}
    ranking = rank([scored("a", [0.5, 0.5]), scored("b", [0.9, math.nan]), scored("c", [0.1, 0.1])])
    assert ranking.ranks["organ DSC"] == {"a": 1.5, "b": 2.0, "c": 2.5}


def test_metrics_that_not_all_have_are_left_out() -> None:
    with_tumor, without = scored("a", [0.5], [0.5]), scored("b", [0.4])
    assert list(rank([with_tumor, without]).ranks) == ["organ DSC", "organ NSD"]
    both = rank([with_tumor, scored("c", [0.4], [0.6])])
    assert both.ranks["tumor DSC"] == {"a": 2.0, "c": 1.0}


def test_tolerances_are_off_unless_asked_for() -> None:
    fast = scored("fast", [0.5], **{"0": run(3.0, gpu_mb=3000, area=9000)})
    slow = scored("slow", [0.5], **{"0": run(14.0, gpu_mb=2000, area=28000)})
    assert rank([fast, slow]).ranks["seconds"] == {"fast": 1.0, "slow": 2.0}
    assert rank([fast, slow]).ranks["GPU area"] == {"fast": 1.0, "slow": 2.0}
    tolerant = rank([fast, slow], Tolerances(seconds=15.0, gpu_mb=4096.0))
    assert tolerant.ranks["seconds"] == {"fast": 1.5, "slow": 1.5}
    assert tolerant.ranks["GPU area"] == {"fast": 1.5, "slow": 1.5}
    # Only the slow one stays within 2500 MB: it has no area then.
    assert rank([fast, slow], Tolerances(gpu_mb=2500.0)).ranks["GPU area"] == {"fast": 2.0, "slow": 1.0}


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(UsageError, match="at least two"):
        rank([scored("a", [0.5])])
    with pytest.raises(UsageError, match="different names"):
        rank([scored("a", [0.5]), scored("a", [0.4])])
    with pytest.raises(UsageError, match="no metric that all"):
        rank([scored("a", [0.5]), Submission(name="b", scores={}, efficiency={"0": run(1.0)})])


def test_results_are_read_by_name_or_folder(tmp_path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "scores.csv").write_text("case,class,name,dsc,nsd\na,1,liver,0.5,0.25\na,3,spleen,,\nb,5,aorta,nan,nan\n")
    result = read_submission(f"ours={folder}")
    assert (result.name, read_submission(str(folder)).name, read_submission(str(folder / "scores.csv")).name) == (
        *("ours", "mine", "mine"),
    )
    assert result.scores["a"] == CaseScores(case="a", dsc={1: 0.5}, nsd={1: 0.25}, untrained=(3,))
    assert math.isnan(result.scores["b"].dsc[5])
    with pytest.raises(UsageError, match=r"no scores\.csv and no efficiency\.csv"):
        read_submission(str(tmp_path))
    for broken in ("a,b\n1,2\n", "case,class,name,dsc,nsd\na,99,x,1,1\n"):
        (folder / "scores.csv").write_text(broken)
        with pytest.raises(DatasetError):
            read_submission(str(folder))


def test_a_comparison_has_accuracy_differences_efficiency_and_ranks(tmp_path) -> None:
    a = scored("a", [0.5, 0.6, 0.7], **{"0": run(10.0)})
    b = scored("b", [0.6, 0.7, 0.8, 0.1], **{"0": run(20.0)})
    text = comparison([a, b])
    assert "## Accuracy, 3 common case(s)" in text
    assert "| Liver | 60.00 | 60.00 | 70.00 | 70.00 |" in text
    assert "## b minus a" in text
    assert "| 1 | liver | DSC | 3 | +0.1000 | [0.1000, 0.1000] | 0.25 | 0.25 |" in text
    assert "| a | 1 | 0 | 10.00 |  |  |  |  |  |" in text
    assert "## Ranks" in text
    write_comparison(tmp_path, [a, b], Tolerances())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "comparison.md",
        "table4.csv",
        "table4.md",
        "table4.tex",
    ]


def test_a_bar_in_a_name_ends_no_cell() -> None:
    report = comparison([scored("a|b", [0.5], **{"0": run(1.0)}), scored("c", [0.4])])
    assert report.count("\n| a\\|b | ") == 3, "intervals, efficiency and ranks"
    assert "| Target | a\\|b DSC (%) | a\\|b NSD (%) |" in report
    assert "| 0\\|1 |" in table_5([replace(run(1.0), case="0|1")])


def test_submissions_of_different_cases_do_not_compare() -> None:
    other = Submission(name="b", scores={"z": CaseScores(case="z", dsc={1: 0.5}, nsd={1: 0.5})}, efficiency={})
    with pytest.raises(UsageError, match="no case that all of them"):
        comparison([scored("a", [0.5]), other])


def test_signs_count_in_the_signed_rank_test() -> None:
    # Ranks 1 to 5, of which only 1 is against the others: 4 of 32 sums are as far from the middle.
    assert wilcoxon_p(np.array([-1.0, 2.0, 3.0, 4.0, 5.0])) == pytest.approx(4 / 32)
    assert wilcoxon_p(np.array([1.0, -2.0, -3.0, -4.0, -5.0])) == pytest.approx(4 / 32)
    # 7 against 8 of 15: nothing.
    assert wilcoxon_p(np.array([1.0, 2.0, -3.0, 4.0, -5.0])) == 1.0
    assert wilcoxon_p(np.array([0.0, -1.0, 2.0, 3.0, 0.0, 4.0, 5.0])) == pytest.approx(4 / 32)


def test_exactly_at_a_tolerance_is_within_it() -> None:
    at, over = (
        scored(name, [0.5], **{"0": run(seconds, gpu_mb=gpu, area=area)})
        for name, seconds, gpu, area in (("at", 15.0, 4096.0, 60_000), ("over", 15.5, 4096.5, 50_000))
    )
    within = scored("within", [0.5], **{"0": run(2.0, gpu_mb=100.0, area=10)})
    ranks = rank([at, over, within], Tolerances(seconds=15.0, gpu_mb=4096.0)).ranks
    assert ranks["seconds"] == {"at": 1.5, "within": 1.5, "over": 3.0}
    assert ranks["GPU area"] == {"at": 1.5, "within": 1.5, "over": 3.0}


def test_tumor_and_organs_are_ranked_apart_and_a_shared_first_place_is_divided() -> None:
    a, b = scored("a", [0.9, 0.9], [0.1, 0.1]), scored("b", [0.8, 0.8], [0.9, 0.9])
    ranking = rank([a, b])
    assert ranking.ranks["organ DSC"] == {"a": 1.0, "b": 2.0}, "the tumor is no organ"
    assert ranking.ranks["tumor DSC"] == {"a": 2.0, "b": 1.0}
    assert ranking.stability == {"a": 0.5, "b": 0.5}


def test_pairs_are_found_by_name_not_by_place() -> None:
    first = tuple(CaseScores(case=name, dsc={1: value}, nsd={}) for name, value in (("x", 0.1), ("y", 0.5)))
    second = tuple(CaseScores(case=name, dsc={1: value}, nsd={}) for name, value in (("y", 0.6), ("z", 0.3)))
    (result,) = compare_paired(first, second)
    assert (result.cases, result.difference) == (1, pytest.approx(0.1))


def test_an_interval_is_one_of_95_percent_to_either_side() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.1, size=(400, 1))
    interval = mean_interval(values)
    assert interval is not None
    # 90 % would be 1.645 deviations of the mean, 0.0016 less on each side.
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=6e-4)
    assert interval.high == pytest.approx(values.mean() + half, abs=6e-4)


def test_a_class_that_few_cases_annotate_weighs_as_much_as_any_other() -> None:
    # Ones in all of 60 cases, zeros in half of them: every draw has the mean 1/2.
    scores = np.array([[1.0, 0.0 if case % 2 else np.nan] for case in range(60)])
    interval = mean_interval(scores)
    assert interval is not None
    assert (interval.low, interval.high) == (0.5, 0.5)
