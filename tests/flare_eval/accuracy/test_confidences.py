"""Predicted lesions and the records of the statistics beside a label map belong together by their centers."""

from pathlib import Path

import pytest

from flare_eval.accuracy.confidences import with_confidences
from flare_eval.accuracy.lesions import CaseLesions, ScoredLesion
from flare_infer.results.case import CaseStatistics, Lesion
from flare_infer.results.statistics_files import write_statistics


def lesion(number: int, left_mm: float, volume_ml: float = 1.0) -> ScoredLesion:
    return ScoredLesion(number=number, volume_ml=volume_ml, center_mm=(left_mm, 2.0, 3.0))


def record(number: int, left_mm: float, confidence: float | None, volume_ml: float = 1.0) -> Lesion:
    return Lesion(
        number=number,
        volume_ml=volume_ml,
        longest_axial_mm=1.0,
        perpendicular_mm=1.0,
        organ="",
        intensities=None,
        center_mm=(left_mm, 2.0, 3.0),
        confidence=confidence,
    )


def read(folder: Path, lesions: CaseLesions, *records: Lesion) -> CaseLesions:
    write_statistics(folder / "a.statistics.json", CaseStatistics(name="a", classes=(), lesions=records))
    return with_confidences(lesions, folder / "a.nii.gz")


TWO = CaseLesions(predicted=(lesion(1, 10.0), lesion(2, 50.0)))


def test_lesions_are_known_by_their_centers_whatever_the_order(tmp_path: Path) -> None:
    done = read(tmp_path, TWO, record(1, 50.4, 0.25), record(2, 9.7, 0.75))
    assert [one.confidence for one in done.predicted] == [0.75, 0.25]
    assert done.unsure == ""


def test_of_two_around_one_center_the_volume_decides(tmp_path: Path) -> None:
    shells = CaseLesions(predicted=(lesion(1, 10.0, 8.0), lesion(2, 10.0, 1.0)))
    done = read(tmp_path, shells, record(1, 10.0, 0.2, 1.01), record(2, 10.0, 0.9, 8.02))
    assert [one.confidence for one in done.predicted] == [0.9, 0.2]


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ((record(1, 10.0, 0.5),), "no lesion at (50.0, 2.0, 3.0) mm; it belongs to another label map"),
        ((record(1, 10.0, 0.5), record(2, 51.1, 0.5)), "no lesion at (50.0, 2.0, 3.0) mm"),
        ((record(1, 10.0, 0.5), record(2, 50.0, None)), "lesion 2 has no confidence"),
        ((record(1, 10.0, 0.5), record(2, 50.0, 1.5)), "from 0 to 1, found 1.5"),
    ],
)
def test_a_case_without_sound_confidences_says_why_and_has_none(
    tmp_path: Path, records: tuple[Lesion, ...], reason: str
) -> None:
    done = read(tmp_path, TWO, *records)
    assert reason in done.unsure
    assert all(one.confidence is None for one in done.predicted)


def test_damaged_statistics_are_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a.statistics.json").write_text('{"lesions": [{"confidence": 1}]}')
    assert "a.statistics.json: expected a flare-infer statistics" in with_confidences(TWO, tmp_path / "a.mha").unsure


def test_without_statistics_and_without_lesions(tmp_path: Path) -> None:
    prediction = tmp_path / "case_7_0000.nii.gz"
    assert with_confidences(TWO, prediction).unsure == "no case_7.statistics.json beside the prediction"
    nothing = CaseLesions(reference=(lesion(1, 1.0),))
    assert with_confidences(nothing, prediction) == nothing
