"""Which cases and classes count."""

import json
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from flare_eval.accuracy import scoring
from flare_eval.accuracy.classes import ScoredClasses
from flare_eval.accuracy.mode import Mode
from flare_eval.accuracy.pairing import PredictionPair
from flare_eval.accuracy.protocol import score_class
from flare_eval.accuracy.scoring import score_case, score_folder
from flare_infer import labels
from flare_infer.errors import DatasetError, UsageError


def test_only_annotated_classes_are_scored(draw, save, tmp_path: Path) -> None:
    save("predictions/a.nii.gz", draw("11.2"))
    save("references/a.nii.gz", draw("1..."))
    (tmp_path / "references/annotated.json").write_text(json.dumps({"a": [1, 3]}))
    scores = score_folder(tmp_path / "predictions", tmp_path / "references")
    assert scores.cases[0].dsc == {1: pytest.approx(2 / 3), 3: 1.0}
    assert scores.annotated_from == tmp_path / "references/annotated.json"
    assert scores.complete


def test_another_file_of_annotated_classes_wins_over_the_one_beside(draw, save, tmp_path: Path) -> None:
    save("predictions/a.nii.gz", draw("1"))
    save("references/a.nii.gz", draw("1"))
    (tmp_path / "references/annotated.json").write_text('{"a": [1, 3]}')
    other = tmp_path / "other.json"
    other.write_text('{"default": [2]}')
    scores = score_folder(tmp_path / "predictions", tmp_path / "references", annotated=other)
    assert scores.cases[0].dsc == {2: 1.0}


def test_without_a_file_every_class_counts(draw, save, tmp_path: Path) -> None:
    save("predictions/a.nii.gz", draw("1"))
    save("references/a.nii.gz", draw("1"))
    scores = score_folder(tmp_path / "predictions", tmp_path / "references")
    assert tuple(scores.cases[0].dsc) == labels.CODES
    assert scores.annotated_from is None


def test_a_case_that_the_file_does_not_cover_stops_before_scoring(draw, save, tmp_path: Path) -> None:
    save("predictions/a.nii.gz", draw("1"))
    save("references/a.nii.gz", draw("1"))
    (tmp_path / "references/annotated.json").write_text('{"b": [1]}')
    with pytest.raises(DatasetError, match="case a "):
        score_folder(tmp_path / "predictions", tmp_path / "references")


def test_untrained_classes_are_left_out_and_listed(draw, save, tmp_path: Path) -> None:
    save("predictions/a.nii.gz", draw("1.."))
    save("references/a.nii.gz", draw("1TT"))
    (tmp_path / "references/annotated.json").write_text('{"a": [1, 14]}')
    scores = score_folder(tmp_path / "predictions", tmp_path / "references", classes=ScoredClasses(untrained=(13, 14)))
    assert scores.cases[0].dsc == {1: 1.0}
    assert scores.cases[0].untrained == (14,)


def test_untrained_classes_of_another_list_of_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found"):
        score_folder(tmp_path, tmp_path, classes=ScoredClasses(untrained=(3, 20)))


def test_a_missing_prediction_scores_zero_even_where_the_reference_is_empty(draw, save, tmp_path: Path) -> None:
    save("predictions/a.nii.gz", draw("1"))
    save("references/a.nii.gz", draw("1"))
    save("references/b.nii.gz", draw("1"))
    (tmp_path / "references/annotated.json").write_text('{"default": [1, 2]}')
    scores = score_folder(tmp_path / "predictions", tmp_path / "references")
    assert [case.dsc for case in scores.cases] == [{1: 1.0, 2: 1.0}, {1: 0.0, 2: 0.0}]
    assert scores.missing == ("b",)
    assert not scores.complete


@pytest.mark.parametrize(
    "moved", [{"spacing_z_mm": 2.5}, {"origin_x_mm": 1.0}, {"array_zyx": np.ones((2, 1, 2), dtype=np.uint8)}]
)
def test_another_grid_counts_as_missing_and_the_others_are_scored(
    draw, save, tmp_path: Path, moved: dict[str, float]
) -> None:
    prediction = save("predictions/a.nii.gz", **{"array_zyx": draw("11"), **moved})
    reference = save("references/a.nii.gz", draw("11"))
    save("predictions/b.nii.gz", draw("11"))
    save("references/b.nii.gz", draw("11"))
    scores = score_folder(tmp_path / "predictions", tmp_path / "references")
    assert [(case.case, case.dsc[1]) for case in scores.cases] == [("a", 0.0), ("b", 1.0)]
    assert scores.missing == ("a",)
    reason = scores.cases[0].damaged
    assert str(prediction) in reason
    assert str(reference) in reason
    assert "\n" not in reason
    assert not scores.complete


@pytest.mark.parametrize("value", [0.5, 15])
def test_values_that_are_no_labels_fail_that_case_only(draw, save, tmp_path: Path, value: float) -> None:
    save("predictions/a.nii.gz", draw("11"))
    save("references/a.nii.gz", np.array([[[1, value]]], dtype=np.float32))
    save("predictions/b.nii.gz", draw("11"))
    save("references/b.nii.gz", draw("11"))
    scores = score_folder(tmp_path / "predictions", tmp_path / "references")
    assert [case.case for case in scores.cases] == ["b"]
    assert "references/a.nii.gz: expected" in scores.failed["a"]


@pytest.mark.parametrize("content", ["no image", "no labels"])
def test_a_damaged_prediction_scores_as_a_missing_one(draw, save, tmp_path: Path, content: str) -> None:
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    for name in ("a", "b"):
        save(f"predictions/{name}.nii.gz", draw("11"))
        save(f"references/{name}.nii.gz", draw("11"))
    if content == "no image":
        (predictions / "a.nii.gz").write_bytes(b"no image")
    else:
        save("predictions/a.nii.gz", np.array([[[1, 0.5]]], dtype=np.float32))
    damaged = score_folder(predictions, references)
    with pytest.raises(UsageError, match=r"no prediction for a \(.*predictions/a.nii.gz.*official mode needs all"):
        score_folder(predictions, references, mode=Mode.OFFICIAL)
    assert "predictions/a.nii.gz" in damaged.cases[0].damaged
    (predictions / "a.nii.gz").unlink()
    missing = score_folder(predictions, references)
    assert [case.dsc for case in damaged.cases] == [case.dsc for case in missing.cases]
    assert [case.nsd for case in damaged.cases] == [case.nsd for case in missing.cases]
    assert damaged.missing == missing.missing == ("a",)
    assert not damaged.complete


def test_cases_match_by_name_whatever_the_endings(draw, save, tmp_path: Path) -> None:
    for prediction, reference in [
        ("a_0000.nii.gz", "a_labels.nii.gz"),
        ("b.mha", "b.nii.gz"),
        ("c.nii", "c_labels.nrrd"),
    ]:
        save(f"predictions/{prediction}", draw("11"))
        save(f"references/{reference}", draw("11"))
    scores = score_folder(tmp_path / "predictions", tmp_path / "references")
    assert [case.case for case in scores.cases] == ["a", "b", "c"]
    assert scores.complete


def test_a_prediction_without_a_reference_is_listed_and_harmless(draw, save, tmp_path: Path) -> None:
    save("predictions/a.nii.gz", draw("1"))
    save("predictions/extra.nii.gz", draw("1"))
    save("references/a.nii.gz", draw("1"))
    scores = score_folder(tmp_path / "predictions", tmp_path / "references")
    assert scores.unmatched == ("extra",)
    assert scores.complete


def test_two_references_of_one_case_are_refused(draw, save, tmp_path: Path) -> None:
    save("predictions/a.nii.gz", draw("1"))
    save("references/a.nii.gz", draw("1"))
    save("references/a_labels.nii.gz", draw("1"))
    with pytest.raises(UsageError, match="one case, a;"):
        score_folder(tmp_path / "predictions", tmp_path / "references")


def test_the_watcher_sees_every_case(draw, save, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(f"predictions/{name}.nii.gz", draw("1"))
        save(f"references/{name}.nii.gz", draw("1"))
    seen: list[str] = []

    def track(pairs):
        for pair in pairs:
            yield pair
            seen.append(pair.case)

    score_folder(tmp_path / "predictions", tmp_path / "references", track=track)
    assert seen == ["a", "b"]


def test_images_may_lie_beside_their_references(draw, save, tmp_path: Path) -> None:
    save("predictions/a.nii.gz", draw("1.."))
    save("references/a_0000.nii.gz", draw("999"))
    save("references/a_labels.nii.gz", draw("11."))
    scores = score_folder(tmp_path / "predictions", tmp_path / "references")
    assert [case.case for case in scores.cases] == ["a"]
    assert scores.cases[0].dsc[1] == pytest.approx(2 / 3)
    save("references/a.nii.gz", draw("1.."))
    with pytest.raises(UsageError, match="are one case"):
        score_folder(tmp_path / "predictions", tmp_path / "references")


def test_cases_are_scored_alike_in_processes_and_threads(draw, save, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save(f"predictions/{name}.nii.gz", draw("11.2 .1.2 TT.."))
        save(f"references/{name}.nii.gz", draw("1..2 .1.. TTT."))
    (tmp_path / "predictions/b.nii.gz").write_bytes(b"no image")
    alone = score_folder(tmp_path / "predictions", tmp_path / "references")
    together = score_folder(tmp_path / "predictions", tmp_path / "references", jobs=2)
    assert together == alone
    assert together.missing == ("b",)
    pair = PredictionPair(
        case="a",
        reference=tmp_path / "references/a.nii.gz",
        prediction=tmp_path / "predictions/a.nii.gz",
        annotated=labels.CODES,
    )
    assert score_case(pair, threads=4) == alone.cases[0]


def test_a_case_that_kills_its_process_hides_no_other(
    draw, save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        save(f"predictions/{name}.nii.gz", draw("1"))
        save(f"references/{name}.nii.gz", draw("1"))
    monkeypatch.setattr(scoring, "_new_pool", pool_that_dies_of("b"))
    scores = score_folder(tmp_path / "predictions", tmp_path / "references", jobs=2)
    assert [case.case for case in scores.cases] == ["a", "c"]
    assert "was killed (out of memory?)" in scores.failed["b"]


def pool_that_dies_of(case: str):
    """A pool that breaks at one case, and then gives nothing more, as a real one does."""

    class Pool:
        def __init__(self, workers: int) -> None:
            self.broken = False

        def __enter__(self):
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def submit(self, function, pair: PredictionPair, *rest):
            future: Future = Future()
            self.broken |= pair.case == case
            if self.broken:
                future.set_exception(BrokenProcessPool())
            else:
                future.set_result(function(pair, *rest))
            return future

    return Pool


def test_a_prediction_elsewhere_is_scored_in_official_mode_only(draw, save, tmp_path: Path) -> None:
    save("predictions/a.nii.gz", draw("11."), origin_x_mm=30.0)
    save("references/a.nii.gz", draw("11."))
    folders = (tmp_path / "predictions", tmp_path / "references")
    assert score_folder(*folders).missing == ("a",)
    official = score_folder(*folders, mode=Mode.OFFICIAL)
    assert official.cases[0].dsc[1] == 1.0
    save("predictions/a.nii.gz", draw("11.."))
    with pytest.raises(UsageError, match="does not lie on the grid"):
        score_folder(*folders, mode=Mode.OFFICIAL)


def test_spacing_is_that_of_the_reference_and_trimming_changes_nothing(tmp_path: Path, save) -> None:
    rng = np.random.default_rng(0)
    reference = np.zeros((12, 14, 16), dtype=np.uint8)
    reference[3:9, 4:11, 5:12] = rng.integers(0, 15, size=(6, 7, 7))
    prediction = np.roll(reference, (1, -2, 3), axis=(0, 1, 2))
    save("predictions/a.nii.gz", prediction)
    save("references/a.nii.gz", reference)
    case = score_folder(tmp_path / "predictions", tmp_path / "references").cases[0]
    for code in labels.CODES:
        expected = score_class(prediction, reference, code, (2.0, 1.0, 1.0), Mode.FIXED)
        assert (case.dsc[code], case.nsd[code]) == pytest.approx((expected.dsc, expected.nsd))
        assert case.reference_ml[code] == pytest.approx(np.count_nonzero(reference == code) * 0.002)


def test_official_mode_takes_the_spacing_of_the_reference_too(tmp_path: Path, save) -> None:
    reference = np.zeros((12, 14, 16), dtype=np.uint8)
    reference[2:8, 4:11, 5:12] = labels.LIVER
    prediction = np.roll(reference, 2, axis=0)  # two slices of 2 mm: within 5 mm
    save("predictions/a.nii.gz", prediction, spacing_z_mm=20.0)
    save("references/a.nii.gz", reference)
    case = score_folder(tmp_path / "predictions", tmp_path / "references", mode=Mode.OFFICIAL).cases[0]
    assert case.nsd[labels.LIVER] == 1.0
    assert score_class(prediction, reference, labels.LIVER, (20.0, 1.0, 1.0), Mode.OFFICIAL).nsd < 1
