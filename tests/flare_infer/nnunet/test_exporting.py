"""Models written as nnU-Net's predictor loads them, and read back."""

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from flare_infer.commands.app import app
from flare_infer.errors import SpecError, UsageError
from flare_infer.model.architecture import Network
from flare_infer.model.network import UNet
from flare_infer.model.spec import Interpolation, ModelSpec
from flare_infer.model.weights import find_weights, load_networks, save_model
from flare_infer.nnunet.exporting import export_nnunet
from flare_infer.nnunet.importing import ImportOptions, import_nnunet
from tests.nnunet import OLD, PLAIN, RESIDUAL, model_folder
from tests.tiny import tiny_spec

CPU = torch.device("cpu")
THIN, CUBE = (1, 3, 3), (3, 3, 3)
RESIDUAL_NETWORK = Network(
    features=(3, 4, 4),
    kernels=(THIN, CUBE, CUBE),
    strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    convolutions_encoder=(1, 2, 1),
    convolutions_decoder=(2, 1),
    block="residual",
)


def written(folder: Path, **changes: object) -> tuple[Path, ModelSpec]:
    """A weights directory with random numbers in single precision."""
    torch.manual_seed(3)
    spec = tiny_spec(**changes)
    networks = [UNet(spec.network, spec.classes) for _ in range(spec.folds)]
    for network in networks:
        torch.nn.utils.vector_to_parameters(
            torch.randn(sum(parameter.numel() for parameter in network.parameters())), network.parameters()
        )
    save_model(folder, spec, *networks, precision=torch.float32)
    return folder, spec


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network": RESIDUAL_NETWORK, "folds": 2, "mirror_axes": (1, 2)},
        {"orientation": "RAS", "transpose": (2, 0, 1), "image_interpolation": Interpolation(order=3, order_across=0)},
        {"logits_interpolation": Interpolation(order=1, order_across=0)},
        {"image_interpolation": Interpolation(order=2), "name": "two words"},
        {"image_interpolation": Interpolation(order=3, order_across=1)},
    ],
)
def test_out_and_in_again_changes_no_bit(changes: dict[str, Any], tmp_path: Path) -> None:
    source, spec = written(tmp_path / "source", **changes)
    made = export_nnunet(source, tmp_path / "out")
    assert (made.tile_step_size, made.use_mirroring) == (spec.window_step, bool(spec.mirror_axes))
    options = ImportOptions(folds=tuple(map(str, made.folds)), window_step=made.tile_step_size)
    again = import_nnunet(made.folder, tmp_path / "again", options).spec
    for name in ("spacing_mm", "patch", "normalization", "network", "labels", "transpose", "mirror_axes", "folds"):
        assert getattr(again, name) == getattr(spec, name)
    for name in ("image_interpolation", "logits_interpolation", "window_step"):
        assert getattr(again, name) == getattr(spec, name)
    assert again.orientation == {"LPS": "as_stored"}.get(spec.orientation, spec.orientation)
    before, after = load_networks(source, CPU)[1], load_networks(tmp_path / "again", CPU)[1]
    for one, other in zip(before, after, strict=True):
        assert one.state_dict().keys() == other.state_dict().keys()
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_the_shipped_weights_go_out_and_in_again(tmp_path: Path) -> None:
    source = find_weights()
    made = export_nnunet(source, tmp_path / "out")
    assert made.turned
    import_nnunet(made.folder, tmp_path / "again")
    (before,), (after,) = load_networks(source, CPU)[1], load_networks(tmp_path / "again", CPU)[1]
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, after.state_dict()[name]), name


@pytest.mark.parametrize("dataset", [OLD, PLAIN, RESIDUAL])
def test_an_imported_model_goes_out_under_all_names_that_nnunet_wrote(dataset: Path, tmp_path: Path) -> None:
    # nnU-Net loads strictly: every alias must be there, and nothing else.
    import_nnunet(dataset, tmp_path / "in")
    export_nnunet(tmp_path / "in", tmp_path / "out")
    fold = next(model_folder(dataset).glob("fold_*"))
    theirs = keys_of(fold / "checkpoint_final.pth", unsafe_log=True)
    ours = keys_of(tmp_path / "out" / "fold_0" / "checkpoint_final.pth")
    # Ours have every bias and every affine norm, as the exported plan says.
    assert set(theirs) <= set(ours)
    if dataset != PLAIN:
        assert ours == theirs
    plans = json.loads((tmp_path / "out" / "plans.json").read_text())
    numbers = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    assert (numbers["conv_bias"], numbers["norm_op_kwargs"]["affine"]) == (True, True)


def keys_of(path: Path, unsafe_log: bool = False) -> dict[str, tuple[int, ...]]:
    from flare_infer.nnunet.checkpoint import read_checkpoint

    weights = read_checkpoint(path).weights if unsafe_log else torch.load(path, weights_only=True)["network_weights"]
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def test_aliases_take_no_space(tmp_path: Path) -> None:
    source, _ = written(tmp_path / "source", network=RESIDUAL_NETWORK)
    export_nnunet(source, tmp_path / "out")
    weights = torch.load(tmp_path / "out" / "fold_0" / "checkpoint_final.pth", weights_only=True)["network_weights"]
    (network,) = load_networks(source, CPU)[1]
    assert len({tensor.data_ptr() for tensor in weights.values()}) == len(list(network.parameters()))


def test_a_class_that_is_never_predicted_never_wins_there(tmp_path: Path) -> None:
    source, spec = written(tmp_path / "source", untrained=(3, 7))
    export_nnunet(source, tmp_path / "out")
    import_nnunet(tmp_path / "out", tmp_path / "again")
    (before,), (after,) = load_networks(source, CPU)[1], load_networks(tmp_path / "again", CPU)[1]
    batch = torch.randn(1, 1, *spec.patch)
    with torch.inference_mode():
        ours, theirs = before(batch), after(batch)
    assert set(ours.argmax(1).unique().tolist()) & {3, 7}
    assert not set(theirs.argmax(1).unique().tolist()) & {3, 7}
    predicted = list(spec.predicted)
    torch.testing.assert_close(theirs[:, predicted], ours[:, predicted])


def test_what_nnunet_has_no_words_for_is_refused(tmp_path: Path) -> None:
    for names in (("background", "liver", "liver"), ("background", "ignore"), ("outside", "background")):
        source, _ = written(tmp_path / names[1], labels=names)
        with pytest.raises(SpecError, match="a name of its own"):
            export_nnunet(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    source, _ = written(tmp_path / "source")
    export_nnunet(source, tmp_path / "out")
    with pytest.raises(UsageError, match="holds a model"):
        export_nnunet(source, tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        export_nnunet(source, tmp_path / "file" / "out")


@pytest.mark.parametrize(("orientation", "warned"), [("LPS", True), ("as_stored", False)])
def test_the_command_says_how_to_predict(orientation: str, warned: bool, tmp_path: Path) -> None:
    source, _ = written(tmp_path / "source", orientation=orientation, mirror_axes=() if warned else (0,))
    result = CliRunner().invoke(app, ["export-nnunet", str(source), str(tmp_path / "out")])
    assert result.exit_code == 0
    output = " ".join(result.output.split())
    assert f"-m {tmp_path / 'out'} -f 0 -step_size 0.6" in output
    assert ("--disable_tta" in output) == warned
    assert ("stored in LPS" in output) == warned


def test_the_command_names_every_rule_that_nnunet_does_not_know(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export-nnunet", str(find_weights()), str(tmp_path / "lite")])
    _, turning, *differences = result.output.splitlines()
    assert turning.startswith("nnU-Net does not turn scans")
    assert [line.split(": ")[1] for line in differences] == [
        *("body_only", "smallest_part", "tumor_organs", "tumor_lead", "tumor_bias"),
        *("repeated_mm", "padding", "skipping"),
    ]
    assert "the weights hold 1.0 added to the logit of tumor" in result.output
    import_nnunet(OLD, tmp_path / "imported")
    assert export_nnunet(tmp_path / "imported", tmp_path / "again").differences == (), "nnU-Net's own has no such rule"


def test_the_way_back_of_transposed_axes_undoes_the_way_there(tmp_path: Path) -> None:
    array = np.zeros((2, 3, 4))
    for transpose in permutations(range(3)):
        spec = tiny_spec(transpose=transpose)
        save_model(tmp_path / "weights", spec, UNet(spec.network, spec.classes))
        name = "".join(map(str, transpose))
        folder = export_nnunet(tmp_path / "weights", tmp_path / name).folder
        plans = json.loads((folder / "plans.json").read_text())
        assert plans["transpose_forward"] == list(transpose)
        there = array.transpose(plans["transpose_forward"])
        assert there.transpose(plans["transpose_backward"]).shape == array.shape


def test_a_class_that_is_never_predicted_loses_even_where_all_logits_are_negative(tmp_path: Path) -> None:
    spec = tiny_spec(untrained=(3, 9))
    network = UNet(spec.network, spec.classes)
    for head in network.heads:
        torch.nn.init.constant_(head.weight, 0.0)
        torch.nn.init.constant_(head.bias, -50.0)
    save_model(tmp_path / "weights", spec, network)
    export_nnunet(tmp_path / "weights", tmp_path / "out")
    import_nnunet(tmp_path / "out", tmp_path / "back")
    (imported,) = load_networks(tmp_path / "back", CPU)[1]
    with torch.inference_mode():
        logits = imported(torch.zeros(1, 1, *spec.patch))[0]
    known = [code for code in range(spec.classes) if code not in spec.untrained]
    assert (logits[known] == -50).all()
    assert (logits[[3, 9]] == -1000).all()
