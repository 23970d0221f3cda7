"""A dataset in, a cleaned one out, with a table and a sheet; the original is not touched."""

import csv
from pathlib import Path

import numpy as np
import pytest

from flare_infer.errors import UsageError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.labels import ORGANS, TUMOR
from flare_infer.volume.volume import Volume
from tests.dataset import make_dataset
from train.dataset.cases import read_cases
from train.dataset.clean import CleaningRules
from train.dataset.clean_dataset import clean_dataset, draw_findings
from train.dataset.contact_sheet import colored
from train.problems import ProblemsError

CLEANING = CleaningRules(smallest_voxels=4)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A tumor of three voxels in a and in b, where the organs are unknown; c is clean."""
    dataset = make_dataset(tmp_path, {"a": (*ORGANS, TUMOR), "b": (1, TUMOR), "c": (1, 2)})
    for name in "ab":
        path = dataset / "labelsTr" / f"{name}.nii.gz"
        volume = read_volume(path)
        array = np.where(volume.array_zyx == TUMOR, 0, volume.array_zyx).astype(np.uint8)
        array[0, 0, 0:3] = TUMOR
        write_volume(path, Volume(array_zyx=array, placement=volume.placement))
    return dataset


def test_a_cleaned_dataset_is_a_dataset(dataset: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}
    target = tmp_path / "clean"
    reports = clean_dataset(read_cases(dataset), target, CLEANING)
    assert {path: path.read_bytes() for path in before} == before
    cleaned = {case.name: case for case in read_cases(target)}
    assert {name: case.annotated for name, case in cleaned.items()} == {
        case.name: case.annotated for case in read_cases(dataset)
    }
    for case in read_cases(dataset):
        old, new = read_volume(case.labels), read_volume(cleaned[case.name].labels)
        expected = old.array_zyx.copy()
        if case.name != "c":
            expected[0, 0, 0:3] = 0
        np.testing.assert_array_equal(new.array_zyx, expected)
        assert new.placement == old.placement
    assert cleaned["c"].labels.is_symlink()
    with (target / "findings.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["class"] == "tumor"]
    assert [(row["case"], row["rule"], row["voxels"]) for row in rows] == [("a", "small", "3"), ("b", "small", "3")]
    assert float(rows[0]["volume_ml"]) == pytest.approx(0.45)
    assert (target / "not_checked.csv").read_text().splitlines()[1].startswith('b,"right kidney, spleen')
    sheet = draw_findings(reports, CLEANING)
    assert sheet is not None
    assert sheet.width > sheet.height > 200


def test_nothing_is_overwritten(dataset: Path) -> None:
    for target, says in ((dataset.parent, "empty or not there"), (dataset, "lies in")):
        with pytest.raises(UsageError, match=says):
            clean_dataset(read_cases(dataset), target, CLEANING)


def test_a_dataset_with_a_bad_case_gives_none(dataset: Path, tmp_path: Path) -> None:
    (dataset / "labelsTr" / "b.nii.gz").write_bytes(b"no image")
    with pytest.raises(ProblemsError, match=r"b\.nii\.gz"):
        clean_dataset(read_cases(dataset), tmp_path / "clean", CLEANING)
    with pytest.raises(ProblemsError, match=r"annotated\.json"):
        read_cases(tmp_path / "clean")


def test_the_frame_stands_around_what_was_removed() -> None:
    gray = np.full((60, 60), 100, dtype=np.uint8)
    marked = np.zeros((60, 60), dtype=bool)
    marked[30, 30] = True
    panel = colored(gray, np.zeros_like(gray), (1.0, 1.0), marked)
    white = np.argwhere((panel == 255).all(axis=-1))
    fine = panel.shape[0] // 60
    assert white.min(axis=0).tolist() == [30 * fine - 4] * 2
    assert white.max(axis=0).tolist() == [31 * fine + 3] * 2
    assert (panel[30 * fine, 30 * fine] == 100).all()


def test_thick_planes_are_drawn_in_proportion() -> None:
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    panel = colored(gray, np.zeros_like(gray), (2.0, 1.0))
    assert panel.shape == (360, 240, 3)
    assert panel[::120, ::60, 0].tolist() == gray.tolist()


def test_label_maps_in_the_folder_of_other_images_are_found_in_the_cleaned_dataset(
    dataset: Path, tmp_path: Path
) -> None:
    for name in ("imagesTr2200", "labelsTr2200"):
        (dataset / name).mkdir()
    for path in (dataset / "labelsTr").iterdir():
        path.rename(dataset / "labelsTr2200" / path.name)
    clean_dataset(read_cases(dataset), tmp_path / "clean", CLEANING)
    assert [case.name for case in read_cases(tmp_path / "clean")] == ["a", "b", "c"]
