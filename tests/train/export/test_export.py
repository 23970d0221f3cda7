"""What is exported is read back and compared with the trained network before it takes its place."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_infer.errors import UsageError, WeightsError
from flare_infer.model.model_file import read_model_file
from flare_infer.nnunet.importing import import_nnunet
from tests.dataset import make_dataset
from tests.tiny import load_model
from tests.train.commands.test_app import run as run_command
from train.commands.app import app
from train.dataset.cases import read_cases
from train.export import export as exporting
from train.export.export import export
from train.fit.checkpoint import load_checkpoint, save_checkpoint
from train.fit.loop import fit
from train.recipes.recipe import smoke
from train.store.prepare import prepare_cases

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    dataset = make_dataset(folder, {"organs": (1, 2, 3, 13), "tumor": (1, 14)})
    (dataset / "unlabeled.json").write_text('{"unlabeled": ["tumor"]}')
    prepare_cases(read_cases(dataset), smoke().spec, folder / "store")
    return folder / "store"


@pytest.fixture
def run(store: Path, tmp_path: Path) -> Path:
    fit(replace(smoke(steps=2), unlabeled=True), store, tmp_path / "run", CPU)
    return tmp_path / "run"


def test_both_folders_are_the_trained_network(run: Path, store: Path, tmp_path: Path) -> None:
    made = export(run, store, tmp_path / "weights", tmp_path / "nnunet")
    assert made.spec.untrained == (4, 5, 6, 7, 8, 9, 10, 11, 12)
    assert made.spec.training["unlabeled_cases"] == ["tumor"]
    assert "1 of them have pseudo labels only" in (tmp_path / "weights" / "MODEL_CARD.md").read_text()
    assert 0 < made.proof.rounding < 0.05
    assert made.proof.weights < 1e-5
    assert made.proof.nnunet is not None
    assert made.proof.nnunet < 1e-4

    _, ours = load_model(tmp_path / "weights", CPU)
    assert made.nnunet is not None
    import_nnunet(made.nnunet.folder, tmp_path / "again")
    _, theirs = load_model(tmp_path / "again", CPU)
    patch = torch.randn((1, 1, 16, 32, 16), generator=torch.Generator().manual_seed(1))
    known = [0, 1, 2, 3, 13, 14]
    torch.testing.assert_close(theirs(patch)[:, known], ours(patch)[:, known], rtol=0, atol=1e-4)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"run", "weights", "nnunet", "again"}, "nothing half-written stays"


def test_the_command_prints_the_differences(run: Path, store: Path, tmp_path: Path) -> None:
    target, nnunet = tmp_path / "weights", tmp_path / "nnunet"
    code, stdout, _ = run_command(app, "export", run, store, target, "--nnunet", nnunet)
    assert code == 0
    assert "of the trained network with its numbers in 16 bits, and that within" in stdout
    assert f"-m {nnunet} -f 0 -step_size 0.6 --disable_tta" in " ".join(stdout.split())
    assert "give it CTs stored in LPS" in stdout
    code, _, stderr = run_command(app, "export", run, store, tmp_path / "other", "--nnunet", nnunet)
    assert code == 2
    assert "nothing is overwritten" in stderr
    assert not (tmp_path / "other").exists()


def test_another_model_is_refused_or_replaced_with_its_card(run: Path, store: Path, tmp_path: Path) -> None:
    target = tmp_path / "weights"
    export(run, store, target)
    (target / "MODEL_CARD.md").write_text("what the first model reached")
    before = {path: path.read_bytes() for path in target.iterdir()}
    fit(replace(smoke(steps=3), unlabeled=True, seed=7), store, tmp_path / "other", CPU)
    arguments = ("export", tmp_path / "other", store, target)
    code, _, stderr = run_command(app, *arguments)
    assert code == 2
    assert f"{target}: holds a model already; choose another folder, or --replace it" in stderr
    assert {path: path.read_bytes() for path in target.iterdir()} == before

    assert run_command(app, *arguments, "--replace")[0] == 0
    assert read_model_file(target).spec.training["seed"] == 7
    assert "Trained for 3 of 3 steps" in (target / "MODEL_CARD.md").read_text()
    assert (target / "MODEL_CARD.md.old").read_text() == "what the first model reached"


def test_weights_that_are_not_the_network_do_not_stay(
    run: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "weights"
    export(run, store, target)
    before = {path: path.read_bytes() for path in target.iterdir()}
    save = exporting.save_model

    def spoiled(directory: Path, spec: Any, network: Any, precision: torch.dtype) -> None:
        other = type(network)(spec.network, spec.classes)
        other.load_state_dict(network.state_dict())
        with torch.no_grad():
            other.heads[0].bias[3] += 0.01
        save(directory, spec, other, precision=precision)

    monkeypatch.setattr(exporting, "save_model", spoiled)
    for place in (target, tmp_path / "new"):
        with pytest.raises(WeightsError, match=r"the weights directory: logits .* differ .*; nothing was exported"):
            export(run, store, place, tmp_path / "nnunet", replacing=True)
    assert {path: path.read_bytes() for path in target.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"run", "weights"}


@pytest.mark.parametrize("spoil", ["a number", "the spacing"])
def test_an_nnunet_folder_that_is_not_the_network_does_not_stay(
    run: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    write = exporting.export_nnunet

    def spoiled(weights: Path, folder: Path) -> Any:
        made = write(weights, folder)
        if spoil == "a number":
            path = folder / "fold_0" / "checkpoint_final.pth"
            content = torch.load(path, weights_only=True)
            for name in [name for name in content["network_weights"] if "seg_layers" in name]:
                content["network_weights"][name] *= 1.001
            torch.save(content, path)
        else:
            path = folder / "plans.json"
            path.write_text(path.read_text().replace("8.0", "7.0"))
        return made

    monkeypatch.setattr(exporting, "export_nnunet", spoiled)
    with pytest.raises(WeightsError, match=r"the nnU-Net folder: logits|reads back with"):
        export(run, store, tmp_path / "weights", tmp_path / "nnunet")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_a_number_too_large_for_16_bits_is_found(run: Path, store: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(run)
    assert checkpoint is not None
    for bias in [name for name in checkpoint.network if name.startswith("heads.") and name.endswith("bias")]:
        checkpoint.network[bias][0] = 1e6
    save_checkpoint(run, checkpoint)
    with pytest.raises(WeightsError, match="its numbers in 16 bits: logits of a patch differ"):
        export(run, store, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_an_empty_folder_may_be_named(run: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "nnunet").mkdir()
    export(run, store, tmp_path / "weights", tmp_path / "nnunet")
    assert (tmp_path / "nnunet" / "plans.json").is_file()
    assert read_model_file(tmp_path / "weights").spec.name == "smoke"
    with pytest.raises(UsageError, match="empty or not there yet"):
        export(run, store, tmp_path / "weights", tmp_path / "nnunet", replacing=True)
    with pytest.raises(UsageError, match="choose another folder for nnU-Net's"):
        export(run, store, tmp_path / "one", tmp_path / "one")
