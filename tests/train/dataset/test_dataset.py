"""All that is wrong with a dataset is reported at once, before anything runs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flare_infer.errors import UsageError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.volume.volume import Volume
from tests.dataset import make_dataset
from train.dataset.cases import read_cases
from train.dataset.check import sound_cases
from train.dataset.layout import find_pairs
from train.dataset.scan import DatasetScan, doubtful_label_types, scan_dataset, write_proposal
from train.dataset.splits import draw_validation, read_patients, read_validation, write_validation
from train.problems import ProblemsError
from train.store.normalization import foreground_normalization, normalization_of, sample_foreground


def change(path: Path, new: dict[tuple[int, int, int], float], kind: type = np.float32) -> None:
    volume = read_volume(path)
    array = volume.array_zyx.astype(kind)
    for voxel, value in new.items():
        array[voxel] = value
    write_volume(path, Volume(array_zyx=array, placement=volume.placement))


def spoiled(folder: Path) -> Path:
    """One case for every way to be wrong, a good one, and one of which is said that its organs are not there."""
    names = ("good", "grid", "moved", "code", "half", "empty", "nan", "unlisted", "twice", "broken")
    dataset = make_dataset(folder, dict.fromkeys(names, (1, 2)))
    images, labels = dataset / "imagesTr", dataset / "labelsTr"
    whole = read_volume(labels / "grid.nii.gz")
    write_volume(labels / "grid.nii.gz", Volume(array_zyx=whole.array_zyx[:-1], placement=whole.placement))
    shifted = replace(whole.placement, origin_mm=(1.0, 2.0, 3.0))
    write_volume(labels / "moved.nii.gz", Volume(array_zyx=whole.array_zyx, placement=shifted))
    change(labels / "code.nii.gz", {(0, 0, 0): 99}, np.uint8)
    change(labels / "half.nii.gz", {(0, 0, 0): 1.5})
    write_volume(labels / "empty.nii.gz", Volume(array_zyx=whole.array_zyx * 0, placement=whole.placement))
    change(images / "nan_0000.nii.gz", {(1, 2, 3): float("nan"), (1, 2, 4): float("inf")})
    listed = json.loads((dataset / "annotated.json").read_text())
    del listed["unlisted"]
    (dataset / "annotated.json").write_text(json.dumps(listed))
    (images / "twice.nii.gz").write_bytes((images / "twice_0000.nii.gz").read_bytes())
    (images / "broken_0000.nii.gz").write_bytes(b"no image")
    return dataset


EXPECTED = (
    "grid: image and labels lie on different grids: shape (48, 64, 64) against",
    "moved: image and labels lie on different grids: origin",
    "code: labels: expected labels 0..14, found 99",
    "half: labels: expected whole numbers as labels, found 1.5",
    "nan: the image holds 2 values that are NaN or infinite",
    "case unlisted is not listed",
    "twice: listed twice",
    "broken_0000.nii.gz: not a readable image",
)


def test_each_problem_has_its_own_line_and_all_are_told_at_once(tmp_path: Path) -> None:
    dataset = spoiled(tmp_path)
    with pytest.raises(ProblemsError) as caught:
        sound_cases(dataset)
    for problems in (caught.value.problems, scan_dataset(dataset).problems):
        for words in EXPECTED:
            assert sum(words in line for line in problems) == 1, words
        assert len(problems) == len(EXPECTED)


def test_a_scan_shows_label_types_and_proposes_what_occurs(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1, 2, 3, 13), "b": (1, 2, 3, 13), "c": (1, 2, 3), "d": (1, 14)})
    (dataset / "annotated.json").unlink()
    found = scan_dataset(dataset)
    assert found.problems == ()
    assert found.label_types == {(1, 2, 3, 13): ["a", "b"], (1, 2, 3): ["c"], (1, 14): ["d"]}
    assert doubtful_label_types(found.label_types) == {(1, 2, 3): (13,)}, "absent and not drawn look alike"
    write_proposal(dataset, found.present)
    assert [case.annotated for case in read_cases(dataset)] == [(1, 2, 3, 13), (1, 2, 3, 13), (1, 2, 3), (1, 14)]
    with pytest.raises(UsageError, match="there already"):
        write_proposal(dataset, found.present)


def test_a_scan_finds_labels_that_annotated_json_denies(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1, 2)})
    (dataset / "annotated.json").write_text('{"a": [1]}')
    (line,) = scan_dataset(dataset).problems
    assert line.startswith("a: labels hold 2 right kidney, but annotated.json says only 1 liver")


def test_the_most_frequent_type_comes_first() -> None:
    assert list(DatasetScan(present={"a": (2,), "b": (1,), "c": (2,)}, problems=()).label_types) == [(2,), (1,)]
    assert doubtful_label_types({(1,): ["a"], (1, 2, 3, 4, 5): ["b"]}) == {}, "four classes are no accident"


def test_the_challenges_folders_are_read(tmp_path: Path) -> None:
    """imagesTr2200 and labelsTr2200 without dataset.json; validation images beside them are not cases."""
    dataset = make_dataset(tmp_path, {"FLARE23_0001": (1, 2), "FLARE23_0002": (1, 14)})
    (dataset / "dataset.json").unlink()
    (dataset / "imagesTr").rename(dataset / "imagesTr2200")
    (dataset / "labelsTr").rename(dataset / "labelsTr2200")
    (dataset / "imagesVal100").mkdir()
    (dataset / "imagesVal100" / "FLARE23Val_0001_0000.nii.gz").write_bytes(b"x")
    assert [(case.name, case.annotated) for case in read_cases(dataset)] == [
        ("FLARE23_0001", (1, 2)),
        ("FLARE23_0002", (1, 14)),
    ]
    (dataset / "imagesTr2200").rename(dataset / "images")
    missing = f"{dataset / 'labels'}: missing; expected the label maps of images"
    assert find_pairs(dataset) == ({}, [missing])


PATIENTS = {"p1": "p", "p2": "p", "q1": "q", "r1": "r", "s1": "s"}


def test_a_drawn_split_never_separates_a_patient() -> None:
    drawn = {draw_validation(PATIENTS, 0.4, seed) for seed in range(50)}
    assert len(drawn) > 3
    for validation in drawn:
        assert 2 <= len(validation) <= 3
        assert ("p1" in validation) == ("p2" in validation)
    assert draw_validation(PATIENTS, 0.4, 7) == draw_validation(dict(reversed(PATIENTS.items())), 0.4, 7)
    assert len({PATIENTS[case] for case in draw_validation(PATIENTS, 0.99, 0)}) == 3, "one patient always trains"
    for wrong in (0.0, 1.0):
        with pytest.raises(UsageError, match="fraction"):
            draw_validation(PATIENTS, wrong, 0)
    with pytest.raises(UsageError, match="two patients"):
        draw_validation({"a": "p", "b": "p"}, 0.5, 0)


def test_a_written_split_is_read_back_and_kept(tmp_path: Path) -> None:
    (tmp_path / "patients.json").write_text('{"p": ["p1", "p2"], "elsewhere": ["z"]}')
    patients = read_patients(tmp_path, ["p1", "p2", "q1"])
    assert patients["p1"] == patients["p2"] != patients["q1"]
    assert read_validation(tmp_path, patients) == frozenset()
    write_validation(tmp_path, {"p1", "p2"})
    assert read_validation(tmp_path, patients) == {"p1", "p2"}
    with pytest.raises(UsageError, match="there already"):
        write_validation(tmp_path, {"q1"})


def test_an_unlisted_case_is_not_the_patient_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "patients.json").write_text('{"x": ["a", "b"]}')
    patients = read_patients(tmp_path, ["a", "b", "x"])
    assert patients["x"] != patients["a"]


@pytest.mark.parametrize(
    ("validation", "says"),
    [
        ('["p1"]', "case p2 trains, but its patient p validates"),
        ('["q1", "q1"]', "case q1 is listed twice"),
        ('["zz"]', "case zz is not in the dataset"),
        ('["p1", "p2", "q1", "r1", "s1"]', "every case validates"),
        ('"p1"', "expected a list of case names"),
        ("null", "expected a list of case names"),
    ],
)
def test_a_split_that_leaks_is_refused(tmp_path: Path, validation: str, says: str) -> None:
    (tmp_path / "splits.json").write_text(f'{{"validation": {validation}}}')
    with pytest.raises(ProblemsError, match=says):
        read_validation(tmp_path, PATIENTS)


def test_a_case_has_one_patient(tmp_path: Path) -> None:
    (tmp_path / "patients.json").write_text('{"p": ["a"], "q": ["a", "b"]}')
    with pytest.raises(ProblemsError, match="case a belongs to p and to q"):
        read_patients(tmp_path, ["a", "b"])


def test_normalization_is_that_of_the_foreground_by_hand() -> None:
    found = normalization_of(np.arange(1001, dtype=np.float32))
    assert (found.clip_low_hu, found.clip_high_hu, found.mean_hu) == (5.0, 995.0, 500.0)
    assert found.std_hu == pytest.approx(np.sqrt((1001**2 - 1) / 12))
    image = np.arange(24).reshape(2, 3, 4)
    labels = np.where((image >= 10) & (image < 20), 3, 0).astype(np.uint8)
    assert sample_foreground(image, labels, 100).tolist() == list(range(10, 20))
    assert sample_foreground(image, labels, 2).tolist() == [10, 19]


def test_validation_cases_do_not_enter_the_normalization(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1, 2), "b": (1, 2)})
    alone = foreground_normalization([case for case in read_cases(dataset) if case.name == "a"])
    path = dataset / "imagesTr" / "b_0000.nii.gz"
    bright = read_volume(path)
    write_volume(path, Volume(array_zyx=bright.array_zyx + 700, placement=bright.placement))
    assert foreground_normalization(read_cases(dataset)).mean_hu > alone.mean_hu + 100
    (dataset / "splits.json").write_text('{"validation": ["b"]}')
    assert foreground_normalization(read_cases(dataset)) == alone
