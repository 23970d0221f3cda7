from pathlib import Path

import pytest
import torch

from flare_infer.errors import UsageError, WeightsError
from flare_infer.model.model_file import write_spec
from flare_infer.model.network import UNet
from flare_infer.model.weights import count_parameters, find_weights, load_networks, save_model
from tests.tiny import load_model, tiny_spec

CPU = torch.device("cpu")


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    for name in (".model.safetensors.part", ".model.json.part", ".writing-1-0", "mine.part"):
        (tmp_path / name).touch()
    save_model(tmp_path, tiny_spec(), UNet(tiny_spec().network, tiny_spec().classes))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.part", "model.json", "model.safetensors"]


def test_what_is_saved_comes_back_in_half_precision(tmp_path: Path) -> None:
    spec = tiny_spec()
    network = UNet(spec.network, spec.classes)
    save_model(tmp_path, spec, network)
    again_spec, again = load_model(tmp_path, CPU)
    assert again_spec == spec
    assert not again.training
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor.half().float())
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "model.json").stat().st_mode
    assert count_parameters(tmp_path) == sum(tensor.numel() for tensor in network.parameters())


def test_a_truncated_file_is_refused(tiny_weights: Path) -> None:
    path = tiny_weights / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"model\.safetensors: damaged, cut short or exchanged"):
        load_model(tiny_weights, CPU)


def test_weights_of_another_network_are_refused(tiny_weights: Path) -> None:
    wider = tiny_spec(labels=("background", "liver"))
    write_spec(wider, tiny_weights)
    with pytest.raises(WeightsError, match=r"does not fit model\.json"):
        load_model(tiny_weights, CPU)


def test_a_missing_file_is_refused(tiny_weights: Path) -> None:
    (tiny_weights / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="not readable"):
        load_model(tiny_weights, CPU)


def test_folds_share_a_file_and_load_as_their_mean(tmp_path: Path) -> None:
    spec = tiny_spec(folds=2)
    networks = [UNet(spec.network, spec.classes) for _ in range(2)]
    save_model(tmp_path, spec, *networks, precision=torch.float32)
    _, loaded = load_model(tmp_path, CPU)
    batch = torch.randn(1, 1, *spec.patch)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(batch), (networks[0](batch) + networks[1](batch)) / 2)
    with pytest.raises(WeightsError, match=r"2 fold\(s\) needs as many networks, got 1"):
        save_model(tmp_path, spec, networks[0])
    write_spec(tiny_spec(folds=3), tmp_path)
    with pytest.raises(WeightsError, match="does not fit"):
        load_model(tmp_path, CPU)
    write_spec(tiny_spec(folds=1), tmp_path)
    with pytest.raises(WeightsError, match="does not fit"):
        load_model(tmp_path, CPU)


def test_order_of_places(tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A checkout or image in miniature: weights/ beside the package.
    package = tmp_path / "checkout" / "flare_infer"
    monkeypatch.setattr("flare_infer.model.weights.__file__", str(package / "model" / "weights.py"))
    monkeypatch.delenv("FLARE_WEIGHTS", raising=False)
    with pytest.raises(UsageError, match="no weights found"):
        find_weights()

    def put(folder: Path) -> Path:
        folder.mkdir(parents=True)
        write_spec(tiny_spec(), folder)
        return folder

    shipped = put(package / "shipped_weights" / "lite")
    assert find_weights() == shipped
    lite = put(package.parent / "weights" / "lite")
    assert find_weights() == lite
    default = put(package.parent / "weights" / "default")
    assert find_weights() == default
    from_environment = put(tmp_path / "environment")
    monkeypatch.setenv("FLARE_WEIGHTS", str(from_environment))
    assert find_weights() == from_environment
    assert find_weights(tiny_weights) == tiny_weights
    with pytest.raises(UsageError, match=r"--weights.*no model\.json"):
        find_weights(tmp_path)
    # By its name, unless a folder of that name holds a model.
    assert find_weights(Path("lite")) == lite
    monkeypatch.setenv("FLARE_WEIGHTS", "lite")
    assert find_weights() == lite
    monkeypatch.chdir(put(tmp_path / "here" / "lite").parent)
    assert find_weights(Path("lite")) == Path("lite")
    for other in ("heavy", "..", "weights/lite"):
        with pytest.raises(UsageError, match=r"--weights.*no model\.json"):
            find_weights(Path(other))
    monkeypatch.setenv("FLARE_WEIGHTS", str(tmp_path))
    with pytest.raises(UsageError, match="FLARE_WEIGHTS"):
        find_weights()


def test_more_than_ten_folds_are_told_apart(tmp_path: Path) -> None:
    spec = tiny_spec(folds=12)
    networks = [UNet(spec.network, spec.classes) for _ in range(12)]
    for fold, network in enumerate(networks):
        for parameter in network.parameters():
            torch.nn.init.constant_(parameter, fold)
    save_model(tmp_path, spec, *networks)
    found = [float(next(network.parameters()).flatten()[0]) for network in load_networks(tmp_path, CPU)[1]]
    assert found == list(range(12))
