"""Which classes are scored: those of a file, of the model, or the challenge's."""

import json
from pathlib import Path

import numpy as np
import pytest

from flare_eval.accuracy.classes import CHALLENGE, classes_of
from flare_eval.accuracy.mode import Mode
from flare_eval.accuracy.scoring import score_folder
from flare_infer.errors import UsageError
from flare_infer.formats.volume_io import write_volume
from flare_infer.label_set import LabelSet
from flare_infer.model.spec import ModelSpec
from flare_infer.volume.volume import Placement, Volume
from tests.tiny import LPS, tiny_spec

NAMES = ("background", "femur", "hip", "lesion", "cyst")
OWN = LabelSet(names=NAMES, lesions={"lesion": ("femur",), "cyst": ("hip",)})


def model(names: tuple[str, ...] = NAMES) -> ModelSpec:
    return tiny_spec(labels=names, own_labels=OWN if names == NAMES else LabelSet(names=names))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two lesions of two classes; one is found, and where nothing is known something is claimed."""
    reference = np.zeros((8, 16, 16), dtype=np.uint8)
    reference[2:6, 2:6, 2:6], reference[2:6, 8:12, 2:6] = 1, 2
    reference[3:5, 3:5, 3:5], reference[3:5, 9:11, 3:5] = 3, 4
    reference[:, :, 12:] = 9
    prediction = np.where(reference == 4, 2, reference)
    prediction[reference == 9] = 1
    for name, codes in (("predictions", prediction), ("references", reference)):
        (tmp_path / name).mkdir()
        placement = Placement(spacing_mm=(2.0, 2.0, 2.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)
        write_volume(tmp_path / name / "a.nii.gz", Volume(array_zyx=codes, placement=placement))
    numbers = {name: code for code, name in enumerate(NAMES)} | {"ignore": 9}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": numbers}))
    return tmp_path / "predictions", tmp_path / "references"


def test_what_is_ignored_is_not_scored_and_lesions_of_each_class_are_matched(folders: tuple[Path, Path]) -> None:
    scores = score_folder(*folders, classes=classes_of(folders[1], None, model()))
    (case,) = scores.cases
    assert case.dsc == {1: 1.0, 2: pytest.approx(112 / 120, abs=0.01), 3: 1.0, 4: 0.0}
    assert case.lesions is not None
    assert [(lesion.number, lesion.partner) for lesion in case.lesions.reference] == [(1, 1), (2, None)]
    with pytest.raises(UsageError, match="official mode scores the challenge's classes"):
        score_folder(*folders, classes=scores.classes, mode=Mode.OFFICIAL)


def test_tolerances_are_those_of_the_file_and_2_mm(folders: tuple[Path, Path]) -> None:
    stated = folders[1] / "labels.toml"
    stated.write_text("[labels]\nfemur = 1\nhip = 2\nlesion = 3\ncyst = 4\n[tolerances_mm]\nhip = 9")
    classes = classes_of(folders[1])
    assert [classes.tolerance_mm(code) for code in (1, 2)] == [2.0, 9.0]
    assert classes.on_reference_slices == ()


def test_references_of_other_classes_or_numbers_than_the_models_are_refused(folders: tuple[Path, Path]) -> None:
    places = folders[1], folders[1].parent / "dataset.json"
    with pytest.raises(UsageError, match='code 2 of the references is "hip", and "toe" in the model tiny'):
        classes_of(*places, model(("background", "femur", "toe", "lesion", "cyst")))
    with pytest.raises(UsageError, match="the references have 4 classes, the model tiny 2"):
        classes_of(*places, model(NAMES[:3]))
    places[1].write_text(json.dumps({"labels": {"background": 0, "hip": 1}}))
    with pytest.raises(UsageError, match='code 1 is "hip", which has code 2 in the label maps to score'):
        classes_of(folders[1], None, model())
    assert classes_of(folders[1]) == CHALLENGE, "nothing says that they are of another set"
