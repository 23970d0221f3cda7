"""One dataset of CTs of experts, painted ones, and unlabeled ones with a model's organs."""

import json
from pathlib import Path

import numpy as np
import pytest

from flare_infer.errors import DatasetError, UsageError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.labels import ORGANS
from flare_infer.volume.volume import Placement, Volume
from tests.tiny import LPS
from train.protocol.assemble import Cases, PseudoLabeled, assemble

LIVER, SPLEEN, TUMOR = 1, 3, 14
CASES = Cases(patients={"hcc015": ("hcc015_p3", "hcc015_p1"), "torso3mm": ("torso3mm",)}, held_out=("hcc015_p3",))


def row(*codes: int) -> Volume:
    placement = Placement(spacing_mm=(2.0, 2.0, 2.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)
    return Volume(array_zyx=np.array([[codes]], dtype=np.uint8), placement=placement)


@pytest.fixture
def experts(tmp_path: Path) -> Path:
    folder = tmp_path / "ct"
    folder.mkdir()
    for name in ("chaos1", "hcc015_p3"):
        write_volume(folder / f"{name}_0000.nii.gz", row(5, 6, 7, 8))
        write_volume(folder / f"{name}_labels.nii.gz", row(LIVER, 0, 0, 0))
    (folder / "annotated.json").write_text(json.dumps({"chaos1": [LIVER], "hcc015_p3": [LIVER]}))
    return folder


def test_organs_are_taken_and_tumors_stay_unknown(experts: Path, tmp_path: Path) -> None:
    unlabeled, seen, target = tmp_path / "ct_unlabeled", tmp_path / "seen", tmp_path / "dataset"
    for folder in (unlabeled, seen):
        folder.mkdir()
    for name in ("torso3mm", "hcc015_p1"):
        write_volume(unlabeled / f"{name}_0000.nii.gz", row(7, 7, 7, 7))
        write_volume(seen / f"{name}.nii.gz", row(LIVER, TUMOR, SPLEEN, 0))
    assert assemble(experts, target, CASES, unlabeled=PseudoLabeled(images=unlabeled, labels=seen)) == 2

    annotated = json.loads((target / "annotated.json").read_text())
    assert annotated == {"chaos1": [LIVER], "torso3mm": list(ORGANS)}, "hcc015_p1 is of a patient who is held out"
    labels = {path.name: read_volume(path).array_zyx.ravel().tolist() for path in (target / "labelsTr").iterdir()}
    assert labels == {"chaos1.nii.gz": [LIVER, 0, 0, 0], "torso3mm.nii.gz": [LIVER, 0, SPLEEN, 0]}
    assert {path.name for path in (target / "imagesTr").iterdir()} == {"chaos1_0000.nii.gz", "torso3mm_0000.nii.gz"}
    assert read_volume(target / "imagesTr" / "torso3mm_0000.nii.gz").array_zyx.ravel().tolist() == [7, 7, 7, 7]
    assert json.loads((target / "dataset.json").read_text())["numTraining"] == 2
    assert json.loads((target / "patients.json").read_text()) == {"torso3mm": ["torso3mm"]}
    assert json.loads((target / "origins.json").read_text()) == {
        "painted": {}, "pseudo_labeled": {"torso3mm": list(ORGANS)}
    }  # fmt: skip
    with pytest.raises(UsageError, match="nothing is overwritten"):
        assemble(experts, target, CASES)


def test_a_transposed_case_is_written_as_it_should_be(experts: Path, tmp_path: Path) -> None:
    assemble(experts, tmp_path / "dataset", Cases(transposed_mm={"chaos1": 1.4}))
    image = read_volume(tmp_path / "dataset" / "imagesTr" / "chaos1_0000.nii.gz")
    assert image.array_zyx.ravel().tolist() == [5, 6, 7, 8]
    assert image.array_zyx.shape == (4, 1, 1)
    assert image.placement.spacing_mm == pytest.approx((1.4, 1.4, 1.4))
    other = read_volume(tmp_path / "dataset" / "labelsTr" / "hcc015_p3.nii.gz")
    assert (other.array_zyx.shape, other.placement.spacing_mm) == ((1, 1, 4), (2.0, 2.0, 2.0))


def test_what_is_missing_or_there_twice_is_named(experts: Path, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    (cohort / "annotated.json").write_text('{"chaos1": [1]}')
    with pytest.raises(DatasetError, match="chaos1: a case of that name is there already"):
        assemble(experts, tmp_path / "one", Cases(), [cohort])
    (experts / "chaos1_labels.nii.gz").unlink()
    with pytest.raises(DatasetError, match=r"chaos1_labels\.nii\.gz: missing"):
        assemble(experts, tmp_path / "two", Cases())
