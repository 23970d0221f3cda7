"""The recipe of the shipped weights, from data to weights, in small."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.model.model_file import read_model_file
from flare_infer.model.network import UNet
from flare_infer.model.weights import load_networks, save_model
from scripts import train_weights
from tests.tiny import tiny_spec
from tests.train.synth.test_cohort import GRID, write_maps
from train.synth.cohort_plan import CaseGroup
from train.synth.phantom import paint_phantom

SMALL = "steps = 1\nbatch = 1\n[spec]\npatch = [32, 32, 32]\n"


def write_data(folder: Path) -> Path:
    write_maps(folder / "labels", 4)
    (folder / "ct").mkdir()
    (folder / "ct_unlabeled").mkdir()
    names = ("real", "other", "held_out")
    for seed, name in enumerate(names):
        image, codes = paint_phantom(np.random.default_rng(seed), shape=(48, 64, 64), spacing_mm=(6.0, 5.0, 5.0))
        write_volume(folder / "ct" / f"{name}_0000.nii.gz", image)
        write_volume(
            folder / "ct" / f"{name}_labels.nii.gz", replace(codes, array_zyx=codes.array_zyx * (codes.array_zyx == 1))
        )
    image, _ = paint_phantom(np.random.default_rng(7), shape=(48, 64, 64), spacing_mm=(6.0, 5.0, 5.0))
    write_volume(folder / "ct_unlabeled" / "unlabeled_0000.nii.gz", image)
    (folder / "ct" / "annotated.json").write_text(json.dumps({name: [1] for name in names}))
    return folder


def test_what_is_held_out_is_in_neither_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(train_weights.PAINTED, groups=(CaseGroup(name="painted", annotated=(1, 14), cases=2),))
    short = {"ON_PAINTED": "", "ON_REAL": "", "PAINTED": plan}
    for name in ("TORSOS", "BENIGN", "UNENHANCED", "INVENTED"):
        full = getattr(train_weights, name)
        short[name] = replace(full, groups=(replace(full.groups[0], annotated=(1, 14), cases=1),))
    for name, value in short.items():
        monkeypatch.setattr(train_weights, name, value)
    data, painted, work = write_data(tmp_path / "data"), tmp_path / "painted", tmp_path / "work"
    size = train_weights.Size(spacing_mm=GRID, change=SMALL)
    made = train_weights.train(data, painted, work, ["held_out"], size)
    training = read_model_file(made).spec.training
    painted_ones = ["torso_000", "torso_invented_000", "torso_unenhanced_000"]
    assert training["cases"] == ["other", "real", *painted_ones, "unlabeled"]
    assert [origin["cases"] for origin in training["averaged"]] == [
        ["other", "real", "torso_000"], ["other", "real", *painted_ones], training["cases"]
    ]  # fmt: skip
    counts = {str(code): 3 * (code in {1, 14}) for code in range(1, 15)}
    assert training["painted"] == {"cases": painted_ones, "annotated_cases": counts}
    assert json.loads((work / "benign" / "dataset" / "annotated.json").read_text()).keys() == {
        "other", "real", *painted_ones
    }  # fmt: skip
    assert read_model_file(made).spec.patch == (32, 32, 32), "of this size"
    assert read_volume(painted / "torsos" / "labelsTr" / "torso_000.nii.gz").placement.spacing_mm == GRID
    assert read_model_file(made).spec.smallest_part[13] == 0.25
    assert read_model_file(made).spec.tumor_lead == 6.5
    assert read_model_file(made).spec.tumor_organs == (1, 2, 13, 4), "where tumors are painted"
    assert training["started_from"]["training"]["cases"] == ["painted_000", "painted_001"]
    assert set(json.loads((work / "benign" / "dataset" / "patients.json").read_text())) >= {"patient_0"}

    # Once more, nothing is made anew.
    before = {path: path.stat().st_mtime_ns for folder in (painted, work) for path in folder.rglob("*")}
    assert train_weights.train(data, painted, work, ["held_out"], size) == made
    assert {path: path.stat().st_mtime_ns for folder in (painted, work) for path in folder.rglob("*")} == before


def test_weights_are_averaged_by_their_shares_and_the_logit_of_tumor_is_moved(tmp_path: Path) -> None:
    spec = tiny_spec(training={"cases": ["one"]})
    networks = [UNet(spec.network, spec.classes) for _ in range(2)]
    models = {"a": tmp_path / "a", "b": tmp_path / "b"}
    for folder, network in zip(models.values(), networks, strict=True):
        save_model(folder, spec, network, precision=torch.float32)
    how = train_weights.Average(shares={"a": 0.25, "b": 0.75}, tumor_bias=-0.75, tumor_lead=3.0)
    train_weights.average(how, models, tmp_path / "made")
    finished, (made,) = load_networks(tmp_path / "made", torch.device("cpu"))
    for name, numbers in made.state_dict().items():
        expected = 0.25 * networks[0].state_dict()[name] + 0.75 * networks[1].state_dict()[name]
        if name.startswith("heads.") and name.endswith(".bias"):
            expected[14] -= 0.75
        torch.testing.assert_close(numbers, expected, atol=1e-3, rtol=1e-3)
    assert finished.tumor_lead == 3.0
    assert [origin["share"] for origin in finished.training["averaged"]] == [0.25, 0.75]


def test_a_model_says_which_of_its_labels_were_a_models(tmp_path: Path) -> None:
    experts, student = tmp_path / "experts", tmp_path / "student"
    said = {experts: {"drawn": [1, 5], "full": [1]}, student: {"drawn": [1, 3, 5], "full": [1], "unlabeled": [3, 4]}}
    for place, annotated in said.items():
        (place / "dataset").mkdir(parents=True)
        (place / "dataset" / "annotated.json").write_text(json.dumps(annotated))
        counts = {str(code): sum(code in codes for codes in annotated.values()) for code in (1, 3, 4, 5)}
        spec = tiny_spec(training={"annotated_cases": counts, "cases": list(annotated)})
        save_model(place / "weights", spec, UNet(spec.network, spec.classes))
    stated = train_weights.whose_labels(experts, student)
    assert stated["annotated_cases"] == {"1": 2, "3": 0, "4": 0, "5": 1}
    assert stated["pseudo_labeled"] == {"drawn": [3], "unlabeled": [3, 4]}
    models = {"experts": experts / "weights", "student": student / "weights"}
    how = train_weights.Average(shares={"experts": 0.25, "student": 0.75}, tumor_bias=0.0)
    train_weights.average(how, models, tmp_path / "made", stated)
    training = read_model_file(tmp_path / "made").spec.training
    assert training["cases"] == ["drawn", "full", "unlabeled"]
    assert training["annotated_cases"]["3"] == 0, "nobody drew one"
