"""Predicted lesions and the records of the statistics beside a label map belong together by their centers."""

import json
from pathlib import Path
from typing import Any

import pytest

from flare_eval.accuracy.confidences import with_confidences
from flare_eval.accuracy.lesions import CaseLesions, ScoredLesion


def lesion(number: int, left_mm: float, volume_ml: float = 1.0) -> ScoredLesion:
    return ScoredLesion(number=number, volume_ml=volume_ml, center_mm=(left_mm, 2.0, 3.0))


def record(left_mm: float, confidence: Any, volume_ml: float = 1.0) -> dict[str, Any]:
    return {"number": 1, "center_mm": [left_mm, 2.0, 3.0], "volume_ml": volume_ml, "confidence": confidence}


def read(folder: Path, lesions: CaseLesions, content: Any) -> CaseLesions:
    (folder / "a.statistics.json").write_text(json.dumps(content))
    return with_confidences(lesions, folder / "a.nii.gz")


TWO = CaseLesions(predicted=(lesion(1, 10.0), lesion(2, 50.0)))


def test_lesions_are_known_by_their_centers_whatever_the_order(tmp_path: Path) -> None:
    done = read(tmp_path, TWO, {"lesions": [record(50.4, 0.25), record(9.7, 0.75)]})
    assert [one.confidence for one in done.predicted] == [0.75, 0.25]
    assert done.unsure == ""


def test_of_two_around_one_center_the_volume_decides(tmp_path: Path) -> None:
    shells = CaseLesions(predicted=(lesion(1, 10.0, 8.0), lesion(2, 10.0, 1.0)))
    done = read(tmp_path, shells, {"lesions": [record(10.0, 0.2, 1.01), record(10.0, 0.9, 8.02)]})
    assert [one.confidence for one in done.predicted] == [0.9, 0.2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"lesions": [record(10.0, 0.5)]}, r"no lesion at \(50.0, 2.0, 3.0\) mm; it belongs to another label map"),
        ({"lesions": [record(10.0, 0.5), record(50.0, None)]}, "lesion 2 has no confidence"),
        ({"lesions": [record(10.0, 0.5), record(50.0, 1.5)]}, "from 0 to 1, found 1.5"),
        ({"lesions": [record(10.0, 0.5), record(50.0, True)]}, "expected a number as confidence"),
        ({"lesions": [{"confidence": 0.5}]}, "three numbers as center_mm"),
        ({"lesions": {"1": 0.5}}, "expected a list of lesions"),
        ({}, "expected a list of lesions"),
        ([], "expected a JSON object"),
    ],
)
def test_a_case_without_sound_confidences_says_why_and_has_none(tmp_path: Path, content: Any, reason: str) -> None:
    import re

    done = read(tmp_path, TWO, content)
    assert re.search(reason, done.unsure)
    assert all(one.confidence is None for one in done.predicted)


def test_without_statistics_and_without_lesions(tmp_path: Path) -> None:
    prediction = tmp_path / "case_7_0000.nii.gz"
    assert with_confidences(TWO, prediction).unsure == "no case_7.statistics.json beside the prediction"
    nothing = CaseLesions(reference=(lesion(1, 1.0),))
    assert with_confidences(nothing, prediction) == nothing
