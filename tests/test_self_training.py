"""Labels of models where nobody drew anything."""

import json
from pathlib import Path

import numpy as np
import pytest

from flare_infer.volume import Placement, Volume
from flare_infer.volume_io import read_volume, write_volume
from scripts import self_training
from tests.tiny import LPS

LIVER, SPLEEN, AORTA, TUMOR = 1, 3, 5, 14


def row(*codes: int) -> Volume:
    placement = Placement(spacing_mm=(2.0, 2.0, 2.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)
    return Volume(array_zyx=np.array([[codes]], dtype=np.uint8), placement=placement)


def test_what_two_models_agree_on_is_added_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, unlabeled = tmp_path / "dataset", tmp_path / "unlabeled"
    for folder in (dataset / "imagesTr", dataset / "labelsTr", unlabeled):
        folder.mkdir(parents=True)
    for name in ("torso3mm", "hcc015_p1"):
        write_volume(unlabeled / f"{name}_0000.nii.gz", row(0, 0, 0, 0, 0, 0, 0, 0))
    drawn = row(LIVER, LIVER, 0, 0, 0, 0, 0, 0)
    for name in ("chaos1", "lits117_crop"):
        write_volume(dataset / "imagesTr" / f"{name}_0000.nii.gz", drawn)
        write_volume(dataset / "labelsTr" / f"{name}.nii.gz", drawn)
    (dataset / "annotated.json").write_text(json.dumps({"chaos1": [LIVER], "lits117_crop": [LIVER]}))
    (dataset / "patients.json").write_text("{}")
    (dataset / "dataset.json").write_text('{"numTraining": 2}')

    # The judges agree about the spleen, and differ about the aorta; neither sees the liver that the teacher sees.
    said = {
        "teacher": row(SPLEEN, LIVER, LIVER, SPLEEN, SPLEEN, AORTA, TUMOR, 0),
        "one": row(0, 0, 0, SPLEEN, SPLEEN, AORTA, TUMOR, 0),
        "other": row(0, 0, 0, SPLEEN, SPLEEN, 0, TUMOR, AORTA),
    }

    def segment(scans: Path, predictions: Path, weights: Path) -> None:
        predictions.mkdir()
        for scan in scans.iterdir():
            write_volume(predictions / scan.name.replace("_0000", ""), said[weights.name])

    monkeypatch.setattr(self_training, "segment", segment)
    weights = [Path(name) for name in said]
    self_training.add_pseudo_labels(dataset, unlabeled, ["hcc015_p3"], weights[0], weights[1:])

    annotated = json.loads((dataset / "annotated.json").read_text())
    assert annotated == {"chaos1": [LIVER, SPLEEN], "lits117_crop": [LIVER], "torso3mm": [SPLEEN]}, (
        "hcc015_p1 is a scan of a patient who is held out; the crop stands on its head"
    )
    maps = {name: read_volume(dataset / "labelsTr" / f"{name}.nii.gz").array_zyx.ravel().tolist() for name in annotated}
    assert maps["chaos1"] == [LIVER, LIVER, 0, SPLEEN, SPLEEN, 0, 0, 0], "the expert's liver stays as it was drawn"
    assert maps["lits117_crop"] == drawn.array_zyx.ravel().tolist()
    assert maps["torso3mm"] == [SPLEEN, 0, 0, SPLEEN, SPLEEN, 0, 0, 0]
    assert not (dataset / "imagesTr" / "hcc015_p1_0000.nii.gz").exists()
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 3
    assert json.loads((dataset / "patients.json").read_text())["torso3mm"] == ["torso3mm"]
