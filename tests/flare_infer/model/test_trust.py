"""Weights are what model.json says they are, or they are refused with the reason."""

import hashlib
import json
import os
import struct
from pathlib import Path

import pytest
import torch

from flare_infer.errors import SpecError, WeightsError
from flare_infer.model import weights
from flare_infer.model.model_file import read_model_file, write_spec
from flare_infer.model.network import UNet
from flare_infer.model.weights import check_weights, save_model
from tests.tiny import load_model, tiny_spec

CPU = torch.device("cpu")
SHIPPED = Path(__file__).resolve().parents[3] / "weights"


def change_json(directory: Path, **fields: object) -> Path:
    path = directory / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return path


def unrecord(directory: Path) -> None:
    write_spec(read_model_file(directory).spec, directory)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_hash_of_what_is_written_is_recorded(tiny_weights: Path) -> None:
    found = digest(tiny_weights / "model.safetensors")
    assert json.loads((tiny_weights / "model.json").read_text())["sha256"] == found
    model = read_model_file(tiny_weights)
    assert model.sha256 == check_weights(model) == found


@pytest.mark.parametrize("folder", sorted(path.parent for path in SHIPPED.glob("*/model.json")), ids=lambda f: f.name)
def test_shipped_weights_record_their_hash(folder: Path) -> None:
    assert read_model_file(folder).sha256 == digest(folder / "model.safetensors")


@pytest.mark.parametrize("place", [0, 20, 0.5, -1])
def test_a_single_changed_bit_is_found(tiny_weights: Path, place: float) -> None:
    path = tiny_weights / "model.safetensors"
    expected = digest(path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if place == 0.5 else int(place)] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_model(tiny_weights, CPU)
    text = str(caught.value)
    assert text.startswith(f"{path}: damaged, cut short or exchanged")
    assert digest(path)[:12] in text
    assert expected[:12] in text
    assert "copy the whole folder again" in text


def test_weights_of_another_model_with_the_same_shapes_are_found(tiny_weights: Path, tmp_path: Path) -> None:
    spec = tiny_spec()
    save_model(tmp_path / "other", spec, UNet(spec.network, spec.classes))
    (tmp_path / "other" / "model.safetensors").replace(tiny_weights / "model.safetensors")
    with pytest.raises(WeightsError, match="exchanged"):
        load_model(tiny_weights, CPU)
    unrecord(tiny_weights)
    load_model(tiny_weights, CPU)  # without the hash nobody would notice


def test_what_is_checked_is_what_is_used(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_weights / "model.safetensors"
    _, before = load_model(tiny_weights, CPU)

    def exchange_then_hash(content: bytes) -> str:
        path.write_bytes(bytes(len(content)))
        return hashlib.sha256(content).hexdigest()

    monkeypatch.setattr(weights, "sha256_of", exchange_then_hash)
    _, after = load_model(tiny_weights, CPU)
    assert not any(path.read_bytes())
    for name, tensor in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], tensor)


@pytest.mark.parametrize("value", ["", "0" * 63, "G" * 64, "A" * 64, 5, ["0" * 64], "0" * 10**6])
def test_a_hash_that_is_none_is_refused(tiny_weights: Path, value: object) -> None:
    path = change_json(tiny_weights, sha256=value)
    with pytest.raises(SpecError, match="64 hexadecimal digits") as caught:
        load_model(tiny_weights, CPU)
    assert str(caught.value).startswith(str(path))


def packed(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def one_tensor(**changes: object) -> bytes:
    return packed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | changes}, b"\0" * 4)


HOSTILE = {
    "nothing": b"",
    "huge header": packed(b"{}", length=2**62),
    "header beyond the file": packed(b"{}", length=10**6),
    "deep header": packed(b'{"a":' + b"[" * 10_000),
    "header that is no text": packed(b"\xff\xfe"),
    "overlap": packed({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in ("a", "b")}, b"\0" * 4),
    "hole": packed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"\0" * 8),
    "bytes of nobody": packed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 8),
    "offset beyond the file": one_tensor(data_offsets=[0, 2**60]),
    "terabytes": one_tensor(shape=[2**40]),
    "overflow": one_tensor(shape=[2**40, 2**40]),
    "empty with an overflow": one_tensor(shape=[0, 2**62, 2**62], data_offsets=[0, 0]),
    "unknown type": one_tensor(dtype="X32"),
    "type without a tensor": one_tensor(dtype="F4", shape=[8]),
    "whole numbers": one_tensor(dtype="I32"),
    "complex numbers": packed({"a": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8),
    "eight bits": one_tensor(dtype="F8_E4M3", shape=[4]),
    "another name": one_tensor(),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_in_one_line(tiny_weights: Path, content: bytes) -> None:
    # With the hash of the hostile file recorded, so that only the reading itself is left to refuse it.
    path = tiny_weights / "model.safetensors"
    path.write_bytes(content)
    change_json(tiny_weights, sha256=digest(path))
    with pytest.raises(WeightsError) as caught:
        load_model(tiny_weights, CPU)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_too_large_for_its_network_is_refused_unread(tiny_weights: Path) -> None:
    with (tiny_weights / "model.safetensors").open("wb") as file:
        file.truncate(2**40)  # a hole: takes no disk, and could not be read into memory
    with pytest.raises(WeightsError, match=r"1099511627776 bytes, but the network.* takes at most"):
        load_model(tiny_weights, CPU)


def test_numbers_of_64_bits_are_not_too_large(tmp_path: Path) -> None:
    spec = tiny_spec(folds=2)
    save_model(tmp_path, spec, *(UNet(spec.network, spec.classes) for _ in range(2)), precision=torch.float64)
    load_model(tmp_path, CPU)


def test_what_is_no_file_is_refused_without_waiting(tiny_weights: Path) -> None:
    path = tiny_weights / "model.safetensors"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(WeightsError, match="found something else"):
        load_model(tiny_weights, CPU)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(WeightsError, match="found something else"):
        load_model(tiny_weights, CPU)


def of_stages(count: int, **changes: object) -> dict[str, object]:
    """The field `network` of a model.json."""
    return {
        "features": [4] * count,
        "kernels": [[3, 3, 3]] * count,
        "strides": [[1, 1, 1]] * count,
        "convolutions_encoder": [1] * count,
        "convolutions_decoder": [1] * (count - 1),
    } | changes


ABSURD = [
    ("network", of_stages(2, features=[4, 10**9]), "features"),
    ("network", of_stages(2, features=[4, 1.5]), "features"),
    ("network", of_stages(2, features=["4", 4]), "features"),
    ("network", of_stages(2, features=4), "network.features: expected a list"),
    ("network", of_stages(5000), "stages"),
    ("network", of_stages(2, convolutions_encoder=[1, 10**9]), "convolutions"),
    ("network", of_stages(2, kernels=[[3, 3, 3], [3, 3, 10**9 + 1]]), "kernels"),
    ("network", of_stages(2, strides=[[1, 1, 1], [1, 1, 10**9]]), "strides"),
    ("network", of_stages(2, block="os.system"), "block"),
    ("network", of_stages(2, script="x"), "script"),
    ("network", [1, 2], "network: expected a table"),
    ("patch", [10**6] * 3, "voxels"),
    ("patch", [10**400] * 3, "voxels"),
    ("patch", [-8, 16, 16], "multiple"),
    ("patch", [8.0, 16, "y"], r"patch\[0\]: expected a whole number"),
    ("patch", [1e999, 16, 16], "Infinity is no number of JSON"),
    ("spacing_mm", [1e-300] * 3, "spacing_mm"),
    ("spacing_mm", [1e300] * 3, "spacing_mm"),
    ("spacing_mm", [10**400, 1, 1], r"spacing_mm\[0\]: expected a number of usual size"),
    ("window_step", 1e-300, "window_step"),
    ("window_step", "half", "window_step: expected a number"),
    (
        "normalization",
        {"clip_low_hu": -(10**400), "clip_high_hu": 1, "mean_hu": 0, "std_hu": 1},
        "clip_low_hu: expected",
    ),
    ("padding", 10**400, "padding: expected a number"),
    ("folds", 2.5, "folds"),
    ("mirror_axes", [0] * 10**5, "mirror_axes"),
    ("untrained", [1.5], "untrained"),
    ("image_interpolation", {"order": 2.5}, "order"),
    ("image_interpolation", {"order": 10**9}, "order"),
    ("labels", ["background"] * 10**4, "found 10000"),
    ("labels", ["background", "liver\x1b[2J"], "a label is a text"),
    ("labels", ["background", ""], "a label is a text"),
    ("labels", ["background", "l" * 10**5], "a label is a text"),
    ("labels", ["background", 5], r"labels\[1\]: expected a text"),
    ("labels", ["background", "\ud800"], "a label is a text"),
    ("name", "../../etc/passwd", "name must be"),
    ("name", "..\\up", "name must be"),
    ("name", "..", "name must be"),
    ("name", ".hidden", "name must be"),
    ("name", "a\nb", "name must be"),
    ("name", "n" * 10**5, "name must be"),
    ("name", None, "name: expected a text"),
    ("training", [1], "training: expected a table"),
    ("training", {"cases": ["x" * 2**20]}, "larger than"),
]


@pytest.mark.parametrize(("field", "value", "says"), ABSURD, ids=[f"{f}-{n}" for n, (f, _, _) in enumerate(ABSURD)])
def test_absurd_numbers_and_names_are_refused_in_one_line(
    tiny_weights: Path, field: str, value: object, says: str
) -> None:
    path = change_json(tiny_weights, **{field: value})
    with pytest.raises(SpecError, match=says) as caught:
        load_model(tiny_weights, CPU)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert text.isprintable()
    assert len(text) < 1100


def test_a_network_of_sizes_that_are_absurd_only_together_is_refused(tiny_weights: Path) -> None:
    most = of_stages(16, features=[8192] * 16, kernels=[[31] * 3] * 16, convolutions_encoder=[64] * 16)
    change_json(tiny_weights, network=most)
    with pytest.raises(SpecError, match=r"a model of 2\..*e\+15 parameters, expected at most"):
        load_model(tiny_weights, CPU)
