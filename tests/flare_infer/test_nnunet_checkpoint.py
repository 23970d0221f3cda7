"""Checkpoints are read without running what is in them."""

import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flare_infer.errors import WeightsError
from flare_infer.nnunet_checkpoint import read_checkpoint
from tests.nnunet import OLD, RESIDUAL, model_folder


class Harm:
    """What reads this pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def saved(path: Path, **changes: object) -> Path:
    content = {"network_weights": {"a.weight": torch.ones(2)}, "trainer_name": "nnUNetTrainer", **changes}
    torch.save(content, path)
    return path


def test_a_checkpoint_of_nnunet_is_read() -> None:
    read = read_checkpoint(model_folder(OLD) / "fold_0" / "checkpoint_final.pth")
    assert (read.configuration, read.trainer, read.mirror_axes) == ("3d_fullres", "nnUNetTrainer", (0, 1, 2))
    assert read.weights["encoder.stages.0.0.convs.0.conv.weight"].shape == (3, 1, 1, 3, 3)


def test_the_file_of_nnunet_does_hold_numbers_of_numpy() -> None:
    # Otherwise the test above would not show that they are let through.
    with pytest.raises(pickle.UnpicklingError, match=r"numpy.*scalar"):
        torch.load(model_folder(RESIDUAL) / "fold_0" / "checkpoint_final.pth", weights_only=True)


def test_code_in_a_pickle_never_runs(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = saved(tmp_path / "hostile.pth", logging=Harm(trace))
    with pytest.raises(WeightsError, match=r"hostile\.pth: refused.* would run (posix|nt)\.mkdir"):
        read_checkpoint(path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Harm(trace)))
    assert trace.exists(), "the pickle was harmless, so this test showed nothing"


@pytest.mark.parametrize(
    "inside",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'tofile'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nscalar\n(I1\ntRS'run'\nb.",  # allowed by name, but only as a stand-in
        b"(lp0\ncos\nsystem\n(S'true'\ntRa.",
    ],
)
def test_hand_made_pickles_are_refused(tmp_path: Path, inside: bytes) -> None:
    path = tmp_path / "made.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("made/data.pkl", b"\x80\x02" + inside)
        archive.writestr("made/version", "3\n")
        archive.writestr("made/byteorder", "little")
    with pytest.raises(WeightsError, match=r"made\.pth: "):
        read_checkpoint(path)


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numbers_of_either_numpy_are_let_through(tmp_path: Path, module: str) -> None:
    path = saved(tmp_path / "log.pth", logging={"dice": [np.float64(0.5), np.float32(1)], "curve": np.arange(3.0)})
    renamed = tmp_path / "renamed.pth"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(renamed, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("data.pkl"):
                content = re.sub(rb"numpy\._?core\.multiarray", module.encode(), content)
                assert module.encode() in content
            target.writestr(name, content)
    assert list(read_checkpoint(renamed).weights) == ["a.weight"]


def test_prefixes_of_compiled_and_parallel_training_are_dropped(tmp_path: Path) -> None:
    weights = {"_orig_mod.a.weight": torch.ones(2), "module._orig_mod.b.module.weight": torch.ones(2)}
    read = read_checkpoint(saved(tmp_path / "compiled.pth", network_weights=weights))
    assert list(read.weights) == ["a.weight", "b.module.weight"]
    assert (read.configuration, read.mirror_axes) == ("", ())


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {"network_weights": {"a": 1}}, {"network_weights": 3}])
def test_other_files_of_torch_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth: expected a checkpoint of nnU-Net"):
        read_checkpoint(tmp_path / "other.pth")


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    whole = (model_folder(OLD) / "fold_0" / "checkpoint_final.pth").read_bytes()
    for name, content in (("cut", whole[:-5000]), ("empty", b""), ("text", b"no checkpoint at all")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=f"{name}: not readable as a checkpoint"):
            read_checkpoint(tmp_path / name)
    with pytest.raises(WeightsError, match="found nothing"):
        read_checkpoint(tmp_path / "missing.pth")
