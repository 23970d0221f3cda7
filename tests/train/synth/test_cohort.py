"""A painted dataset: what is in it, what is withheld, and that the commands read it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from flare_infer import labels
from flare_infer.errors import UsageError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.labels import KIDNEYS
from flare_infer.volume.volume import Volume
from tests.train.commands.test_app import run
from train.commands.app import app as train_app
from train.dataset.cases import read_cases
from train.dataset.check import read_case
from train.dataset.layout import find_pairs
from train.synth.anatomy import Anatomy, invent_anatomy
from train.synth.cohort import write_cohort
from train.synth.cohort_plan import GROUPS, CaseGroup, CohortPlan, cohort_plan_of
from train.synth.paint import centered

GRID = (6.0, 6.0, 6.0)


def plan() -> CohortPlan:
    return cohort_plan_of(7, unlabeled=1, validation=2, patients=3, spacing_mm=GRID, noisy=1.0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "dataset"
    write_cohort(folder, plan())
    return folder


def codes_of(path: Path) -> np.ndarray:
    return read_volume(path).array_zyx


def test_every_case_can_be_trained_on(cohort: Path) -> None:
    cases = read_cases(cohort)
    assert len([case for case in cases if not case.validation]) == sum(group.cases for group in plan().groups)
    for case in cases:
        assert read_case(case).present


def test_each_group_annotates_what_it_says_and_nothing_has_all_but_the_validation(cohort: Path) -> None:
    by_name = {group.name: group.annotated for group in GROUPS}
    for case in read_cases(cohort):
        if case.validation:
            assert case.annotated == labels.CODES
        else:
            assert case.annotated == tuple(sorted(by_name[case.name.partition("_")[0]]))
            assert case.annotated != labels.CODES


def test_labels_are_the_truth_without_what_is_withheld_and_with_what_noise_lists(cohort: Path) -> None:
    with (cohort / "noise.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["kind"] for row in rows} == {"small", "outside"}
    for case in read_cases(cohort):
        truth, drawn = codes_of(cohort / "truth" / f"{case.name}.nii.gz"), codes_of(case.labels)
        kept = np.isin(truth, case.annotated)
        if labels.TUMOR not in case.annotated:
            kept &= truth != labels.TUMOR
            assert set(np.unique(drawn[truth == labels.TUMOR])) <= {0, *case.annotated}
        np.testing.assert_array_equal(drawn[kept], truth[kept])
        false = np.count_nonzero((drawn == labels.TUMOR) & (truth != labels.TUMOR))
        assert false == sum(int(row["voxels"]) for row in rows if row["case"] == case.name)
        assert not np.isin(drawn[~kept & (truth != labels.TUMOR)], labels.ORGANS).any()


def test_tumors_are_there_where_they_are_annotated(cohort: Path) -> None:
    for case in read_cases(cohort):
        if labels.TUMOR in case.annotated:
            assert (codes_of(cohort / "truth" / f"{case.name}.nii.gz") == labels.TUMOR).any()


def test_patients_do_not_cross_the_split_and_every_image_has_its_truth(cohort: Path) -> None:
    patients = json.loads((cohort / "patients.json").read_text())
    validation = {case.name for case in read_cases(cohort) if case.validation}
    for names in patients.values():
        assert set(names) <= validation or not set(names) & validation
    images = {path.name.removesuffix("_0000.nii.gz") for path in cohort.glob("images*/*.nii.gz")}
    assert images == {path.name.removesuffix(".nii.gz") for path in (cohort / "truth").iterdir()}
    assert {name for names in patients.values() for name in names} == images
    assert len(list((cohort / "imagesUnlabeled").iterdir())) == 1
    assert not any("unlabeled" in name for name in find_pairs(cohort)[0])


def test_equal_plans_paint_equal_cases_whatever_else_is_in_them(cohort: Path, tmp_path: Path) -> None:
    write_cohort(tmp_path / "again", plan())
    for path in sorted(cohort.rglob("*.nii.gz")):
        np.testing.assert_array_equal(codes_of(path), codes_of(tmp_path / "again" / path.relative_to(cohort)))
    with pytest.raises(UsageError, match="nothing is overwritten"):
        write_cohort(tmp_path / "again", plan())


def write_maps(folder: Path, anatomies: int) -> None:
    """Label maps in the layout of real ones: eight organs, tumors alone."""
    for kind in ("organs8", "liver_tumor", "kidney_tumor"):
        (folder / kind).mkdir(parents=True)
    for index in range(anatomies):
        anatomy = invent_anatomy("", np.random.default_rng(index), GRID)
        eight = np.isin(anatomy.codes_zyx, (1, 3, 4, 9, 10, 11, 12, 13))
        write_map(folder / "organs8" / f"patient_{index}.nii.gz", np.where(eight, anatomy.codes_zyx, 0))
        lump = np.zeros((20, 20, 20))
        lump[8:11, 8:12, 8:12] = 2 if index % 2 else labels.TUMOR
        write_map(folder / ("kidney_tumor" if index % 2 else "liver_tumor") / f"{index}.nii.gz", lump)


def write_map(path: Path, codes: np.ndarray) -> None:
    anatomy = Anatomy(patient="", codes_zyx=codes.astype(np.uint8), spacing_mm=GRID)
    write_volume(path, Volume(array_zyx=anatomy.codes_zyx, placement=centered(anatomy)))


def test_from_maps_by_the_command(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", 4)
    options = ("--maps", tmp_path / "maps", "--grid", 6, "--validation", 1, "--unlabeled", 1)
    code, stdout, _ = run(train_app, "paint", tmp_path / "painted", "--cases", 7, *options)
    assert code == 0
    assert "1 that validate, 1 without labels" in stdout
    patients = json.loads((tmp_path / "painted" / "patients.json").read_text())
    assert set(patients) == {f"patient_{index}" for index in range(4)}
    full = codes_of(tmp_path / "painted" / "truth" / "full_000.nii.gz")
    assert {*labels.ORGANS} <= set(np.unique(full).tolist())

    torsos = tmp_path / "torsos"
    assert run(train_app, "paint", torsos, "--cases", 7, "--torso", *options)[0] == 0
    assert len(codes_of(torsos / "truth" / "full_000.nii.gz")) > len(full) + 20
    benign = tmp_path / "benign"
    assert run(train_app, "paint", benign, "--cases", 7, "--benign", *options)[0] == 0
    kidneys = [
        np.count_nonzero(np.isin(codes_of(folder / "truth" / "full_000.nii.gz"), KIDNEYS))
        for folder in (tmp_path / "painted", benign)
    ]
    assert kidneys[1] < 0.95 * kidneys[0], "nothing was hollowed out"
    code, _, stderr = run(train_app, "paint", tmp_path / "more", *options[:4], "--validation", 9)
    assert code == 2
    assert "4 label maps; expected more than the 9 that validate" in stderr


def test_a_cohort_of_one_group(tmp_path: Path) -> None:
    groups = (CaseGroup(name="liver", annotated=(labels.LIVER,), cases=1),)
    write_cohort(tmp_path / "one", CohortPlan(groups=groups, unlabeled=0, validation=1, patients=1, spacing_mm=GRID))
    assert [case.annotated for case in read_cases(tmp_path / "one")] == [(labels.LIVER,), labels.CODES]


def test_some_cases_that_annotate_tumors_have_none(tmp_path: Path) -> None:
    """Else a model learns that every abdomen has one."""
    groups = (CaseGroup(name="all", annotated=labels.CODES, cases=6),)
    plan = CohortPlan(groups=groups, unlabeled=0, validation=0, patients=2, spacing_mm=GRID, tumor_free=0.5, seed=1)
    write_cohort(tmp_path / "some", plan)
    maps = [codes_of(path) for path in (tmp_path / "some" / "labelsTr").iterdir()]
    assert 0 < sum(bool((codes == labels.TUMOR).any()) for codes in maps) < 6
