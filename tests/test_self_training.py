"""Pseudo labels of unlabeled CTs in the recipe of the shipped weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.labels import ORGANS
from flare_infer.volume.volume import Placement, Volume
from scripts import self_training
from tests.tiny import LPS

LIVER, SPLEEN, TUMOR = 1, 3, 14


def row(*codes: int) -> Volume:
    placement = Placement(spacing_mm=(2.0, 2.0, 2.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)
    return Volume(array_zyx=np.array([[codes]], dtype=np.uint8), placement=placement)


def test_organs_are_taken_and_tumors_stay_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, unlabeled = tmp_path / "dataset", tmp_path / "ct_unlabeled"
    for folder in (dataset / "imagesTr", dataset / "labelsTr", unlabeled):
        folder.mkdir(parents=True)
    for name in ("torso3mm", "hcc015_p1"):
        write_volume(unlabeled / f"{name}_0000.nii.gz", row(7, 7, 7, 7))
    drawn = row(LIVER, 0, 0, 0)
    write_volume(dataset / "imagesTr" / "chaos1_0000.nii.gz", drawn)
    write_volume(dataset / "labelsTr" / "chaos1.nii.gz", drawn)
    (dataset / "annotated.json").write_text(json.dumps({"chaos1": [LIVER]}))
    (dataset / "patients.json").write_text("{}")
    (dataset / "dataset.json").write_text('{"numTraining": 1}')

    def segment(scans: Path, predictions: Path, weights: Path) -> None:
        assert weights == Path("teacher")
        predictions.mkdir()
        for scan in scans.iterdir():
            write_volume(predictions / scan.name.replace("_0000", ""), row(LIVER, TUMOR, SPLEEN, 0))

    monkeypatch.setattr(self_training, "segment", segment)
    self_training.add_pseudo_labels(dataset, unlabeled, ["hcc015_p3"], Path("teacher"))

    annotated = json.loads((dataset / "annotated.json").read_text())
    assert annotated == {"chaos1": [LIVER], "torso3mm": list(ORGANS)}, "hcc015_p1 is of a patient who is held out"
    labels = {path.name: read_volume(path).array_zyx.ravel().tolist() for path in (dataset / "labelsTr").iterdir()}
    assert labels == {"chaos1.nii.gz": [LIVER, 0, 0, 0], "torso3mm.nii.gz": [LIVER, 0, SPLEEN, 0]}
    assert {path.name for path in (dataset / "imagesTr").iterdir()} == {"chaos1_0000.nii.gz", "torso3mm_0000.nii.gz"}
    assert read_volume(dataset / "imagesTr" / "torso3mm_0000.nii.gz").array_zyx.ravel().tolist() == [7, 7, 7, 7]
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 2
    assert json.loads((dataset / "patients.json").read_text())["torso3mm"] == ["torso3mm"]
