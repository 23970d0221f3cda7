"""One network out of several."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flare_infer.errors import SpecError, UsageError
from flare_infer.model.model_file import read_model_file
from flare_infer.model.network import UNet
from flare_infer.model.weights import load_networks, save_model
from tests.tiny import tiny_spec
from train.export.average import Average, average


def test_weights_are_averaged_by_their_shares_and_the_logit_of_tumor_is_moved(tmp_path: Path) -> None:
    spec = tiny_spec(training={"cases": ["one"]})
    networks = [UNet(spec.network, spec.classes) for _ in range(2)]
    models = [tmp_path / "a", tmp_path / "b"]
    for folder, network in zip(models, networks, strict=True):
        save_model(folder, spec, network, precision=torch.float32)
    how = Average(shares={"a": 0.25, "b": 0.75}, tumor_bias=-0.75, tumor_lead=3.0)
    average(how, models, tmp_path / "made")
    finished, (made,) = load_networks(tmp_path / "made", torch.device("cpu"))
    for name, numbers in made.state_dict().items():
        expected = 0.25 * networks[0].state_dict()[name] + 0.75 * networks[1].state_dict()[name]
        if name.startswith("heads.") and name.endswith(".bias"):
            expected[14] -= 0.75
        torch.testing.assert_close(numbers, expected, atol=1e-3, rtol=1e-3)
    assert finished.tumor_lead == 3.0
    with pytest.raises(UsageError, match="made: holds a model already"):
        average(how, models, tmp_path / "made")
    assert [origin["share"] for origin in finished.training["averaged"]] == [0.25, 0.75]


def test_a_model_says_which_of_its_labels_were_a_models(tmp_path: Path) -> None:
    cases = {"experts": {"drawn": [1, 5], "full": [1]}, "student": {"drawn": [1, 5], "full": [1], "unlabeled": [3, 4]}}
    for name, annotated in cases.items():
        counts = {str(code): sum(code in codes for codes in annotated.values()) for code in (1, 3, 4, 5)}
        spec = tiny_spec(training={"annotated_cases": counts, "cases": list(annotated)})
        save_model(tmp_path / name, spec, UNet(spec.network, spec.classes))
    models = [tmp_path / name for name in cases]
    origins = {"painted": {"full": [1]}, "pseudo_labeled": {"unlabeled": [3, 4]}}
    average(Average(shares={"experts": 0.25, "student": 0.75}), models, tmp_path / "made", origins)
    training = read_model_file(tmp_path / "made").spec.training
    assert training["cases"] == ["drawn", "full", "unlabeled"]
    assert training["annotated_cases"] == {"1": 2, "3": 0, "4": 0, "5": 1}, "no expert drew class 3"
    assert training["pseudo_labeled"] == {"unlabeled": [3, 4]}
    assert training["painted"]["cases"] == ["full"]
    average(Average(shares={"experts": 0.75, "student": 0.25}), models, tmp_path / "other", origins)
    assert read_model_file(tmp_path / "other").spec.training["annotated_cases"] == {"1": 2, "3": 0, "4": 0, "5": 1}


def test_shares_and_models_must_fit(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="their sum is 1"):
        Average(shares={"a": 0.25, "b": 0.5})
    with pytest.raises(UsageError, match=r"1 weights folders for 2 shares \(a, b\)"):
        average(Average(shares={"a": 0.25, "b": 0.75}), [tmp_path], tmp_path / "made")
    network = replace(tiny_spec().network, kernels=((3, 3, 3), (1, 1, 1)))
    for name, spec in (("a", tiny_spec()), ("b", tiny_spec(network=network))):
        save_model(tmp_path / name, spec, UNet(spec.network, spec.classes))
    with pytest.raises(UsageError, match="a: another network"):
        average(Average(shares={"a": 0.25, "b": 0.75}), [tmp_path / "a", tmp_path / "b"], tmp_path / "made")
