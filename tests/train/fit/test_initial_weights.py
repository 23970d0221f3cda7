"""A run that begins with trained weights instead of random ones."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flare_infer.errors import DatasetError, UsageError
from flare_infer.model.model_file import read_model_file
from flare_infer.model.weights import load_networks
from tests.train.commands.test_app import run
from tests.train.fit.test_trust import stop_after
from tests.train.tiny_store import make_store
from train.commands.app import app as train_app
from train.export.export import export
from train.fit.initial_weights import begin_with_weights
from train.fit.loop import fit
from train.recipes.recipe import smoke

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("start") / "store", smoke().spec, {"a": (1, 3, 14), "b": (1, 2)}, {})


@pytest.fixture(scope="module")
def weights(store: Path) -> Path:
    fit(replace(smoke(steps=3), seed=7), store, store.parent / "first", CPU)
    export(store.parent / "first", store, store.parent / "weights")
    return store.parent / "weights"


def test_the_first_step_is_taken_from_the_weights(store: Path, weights: Path, tmp_path: Path) -> None:
    _, (network,) = load_networks(weights, CPU)
    begin_with_weights(weights, smoke(steps=1), tmp_path / "started")
    started = fit(smoke(steps=1), store, tmp_path / "started", CPU)
    random = fit(smoke(steps=1), store, tmp_path / "random", CPU).state_dict()
    assert started.training
    assert all(parameter.requires_grad for parameter in started.parameters())

    def away(found: dict[str, torch.Tensor]) -> float:
        return sum(float((found[name] - value).abs().sum()) for name, value in network.state_dict().items())

    assert 0 < away(started.state_dict()) < away(random) / 10


def test_the_start_goes_into_the_record(store: Path, weights: Path, tmp_path: Path) -> None:
    code, _, stderr = run(
        train_app, "fit", store, tmp_path / "run", "--recipe", "smoke", "--start", weights, "--device", "cpu"
    )
    assert code == 0, stderr
    export(tmp_path / "run", store, tmp_path / "weights")
    training = read_model_file(tmp_path / "weights").spec.training
    origin = training["started_from"]
    assert (origin["name"], origin["training"]["seed"], origin["training"]["cases"]) == ("smoke", 7, ["a", "b"])
    assert (training["steps"], training["seed"]) == (2, 2023)
    assert "began with the weights smoke" in (tmp_path / "weights" / "MODEL_CARD.md").read_text()
    assert "started_from" not in read_model_file(weights).spec.training


def test_a_run_goes_on_with_its_own_start_only(store: Path, weights: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        begin_with_weights(weights, smoke(steps=4), folder)
    expected = fit(smoke(steps=4), store, whole, CPU).state_dict()
    fit(smoke(steps=4), store, parts, CPU, stop_after(2))
    begin_with_weights(weights, smoke(steps=4), parts)
    found = fit(smoke(steps=4), store, parts, CPU).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())

    fit(smoke(steps=2), store, tmp_path / "random", CPU)
    with pytest.raises(DatasetError, match=r"began with random weights, not with the weights smoke \([0-9a-f]{12}\)"):
        begin_with_weights(weights, smoke(steps=2), tmp_path / "random")


def test_another_model_is_no_start(store: Path, weights: Path, tmp_path: Path) -> None:
    finer = replace(smoke(), spec=replace(smoke().spec, spacing_mm=(4.0, 8.0, 8.0)))
    with pytest.raises(UsageError, match="no start for recipe smoke, of another model: spacing_mm"):
        begin_with_weights(weights, finer, tmp_path / "finer")
    assert not (tmp_path / "finer").exists()
    code, _, stderr = run(train_app, "fit", store, tmp_path / "run", "--recipe", "smoke", "--start", tmp_path)
    assert code == 2
    assert len(stderr.splitlines()) == 1
    assert "no model.json here" in stderr
