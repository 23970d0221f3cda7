"""A run that begins with trained weights instead of random ones."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flare_infer.errors import DatasetError, UsageError
from flare_infer.model_file import read_spec
from flare_infer.weights import load_networks
from tests.train.test_cli import run
from tests.train.tiny_store import make_store
from train.cli import app as train_app
from train.export import export
from train.fit.loop import fit
from train.fit.start import read_start
from train.fit.state import State
from train.recipes import smoke

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
    begun = State.begin(smoke(), CPU, read_start(weights, smoke())).network
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in begun.state_dict().items())
    assert begun.training
    assert all(parameter.requires_grad for parameter in begun.parameters())

    started = fit(smoke(steps=1), store, tmp_path / "started", CPU, start=weights).state_dict()
    random = fit(smoke(steps=1), store, tmp_path / "random", CPU).state_dict()

    def away(found: dict[str, torch.Tensor]) -> float:
        return sum(float((found[name] - value).abs().sum()) for name, value in network.state_dict().items())

    assert 0 < away(started) < away(random) / 10


def test_the_start_goes_into_the_record(store: Path, weights: Path, tmp_path: Path) -> None:
    fit(smoke(steps=1), store, tmp_path / "run", CPU, start=weights)
    export(tmp_path / "run", store, tmp_path / "weights")
    origin = read_spec(tmp_path / "weights").training["started_from"]
    assert (origin["name"], origin["training"]["seed"], origin["training"]["cases"]) == ("smoke", 7, ["a", "b"])
    assert "began with the weights smoke" in (tmp_path / "weights" / "MODEL_CARD.md").read_text()
    assert "started_from" not in read_spec(weights).training


def test_a_run_goes_on_with_its_own_start_only(store: Path, weights: Path, tmp_path: Path) -> None:
    fit(smoke(steps=2), store, tmp_path / "run", CPU, start=weights)
    fit(smoke(steps=2), store, tmp_path / "run", CPU, start=weights)
    with pytest.raises(DatasetError, match=r"began with the weights smoke \([0-9a-f]{12}\), not with random weights"):
        fit(smoke(steps=2), store, tmp_path / "run", CPU)
    fit(smoke(steps=2), store, tmp_path / "random", CPU)
    with pytest.raises(DatasetError, match="began with random weights, not with the weights smoke"):
        fit(smoke(steps=2), store, tmp_path / "random", CPU, start=weights)


def test_another_model_is_no_start(store: Path, weights: Path, tmp_path: Path) -> None:
    finer = replace(smoke(), spec=replace(smoke().spec, spacing_mm=(4.0, 8.0, 8.0)))
    with pytest.raises(UsageError, match="no start for recipe smoke, of another model: spacing_mm"):
        read_start(weights, finer)
    code, _, stderr = run(train_app, "fit", store, tmp_path / "run", "--recipe", "smoke", "--start", tmp_path)
    assert code == 2
    assert len(stderr.splitlines()) == 1
    assert "no model.json here" in stderr
