"""The network as an ONNX file, run by another runtime."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from flare_infer.commands.app import app
from flare_infer.model import onnx_file
from flare_infer.model.network import UNet
from flare_infer.model.weights import load_networks
from tests.tiny import tiny_spec

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["export-onnx", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_another_runtime_gives_the_logits_of_the_network_for_any_batch(tiny_weights: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="no runtime for ONNX is installed")
    file = tmp_path / "tiny.onnx"
    code, stdout, stderr = run(tiny_weights, file)
    assert (code, stderr) == (0, "")
    assert "random windows give the same logits within" in stdout
    spec, (network,) = load_networks(tiny_weights, torch.device("cpu"))
    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for count in (1, 3):
        windows = torch.randn((count, 1, *spec.patch), generator=torch.Generator().manual_seed(count))
        with torch.inference_mode():
            expected = network(windows).numpy()
        np.testing.assert_allclose(compiled({"windows": windows.numpy()})["logits"], expected, rtol=0, atol=1e-4)


def test_the_file_says_what_it_is(tiny_weights: Path, tmp_path: Path) -> None:
    import onnx

    assert run(tiny_weights, tmp_path / "tiny.onnx")[0] == 0
    facts = {item.key: item.value for item in onnx.load(tmp_path / "tiny.onnx").metadata_props}
    said, recorded = json.loads(facts["model.json"]), json.loads((tiny_weights / "model.json").read_text())
    assert said == recorded


def test_folds_are_averaged(tmp_path: Path) -> None:
    spec = tiny_spec()
    networks = [UNet(spec.network, spec.classes) for _ in range(2)]
    windows = torch.randn((1, 1, *spec.patch))
    with torch.inference_mode():
        expected = (networks[0](windows) + networks[1](windows)) / 2
        torch.testing.assert_close(onnx_file._Mean(networks)(windows), expected)


def test_a_file_that_computes_something_else_is_not_left(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "_run", lambda path, windows: ("other", torch.zeros(2, 15, 8, 16, 16)))
    code, _, stderr = run(tiny_weights, tmp_path / "tiny.onnx")
    assert (code, "other computes logits that differ by" in stderr) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_what_is_there_is_not_overwritten_and_a_missing_library_is_named(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old.onnx").write_bytes(b"old")
    assert run(tiny_weights, tmp_path / "old.onnx")[0] == 2
    assert run(tiny_weights, tmp_path / "new.pt")[0] == 2
    assert (tmp_path / "old.onnx").read_bytes() == b"old"
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, _, stderr = run(tiny_weights, tmp_path / "new.onnx")
    assert (code, 'pip install "flare-infer[onnx]"' in stderr) == (2, True)
