"""Checkpoints are read without running what is in them."""

import copy
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
from flare_infer.nnunet.checkpoint import read_checkpoint
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


def rezipped(path: Path, source: Path, compression: int = zipfile.ZIP_STORED, **changes: bytes) -> Path:
    """A copy of a checkpoint, with other bytes for the records whose names end as given (`pkl` for `data.pkl`)."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", compression) as new:
        for name in old.namelist():
            change = next((content for end, content in changes.items() if name.endswith(end)), None)
            new.writestr(name, old.read(name) if change is None else change)
    return path


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "plain.pth", network_weights={"a.weight": torch.zeros(10**6)})
    bomb = rezipped(tmp_path / "bomb.pth", source, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < source.stat().st_size / 100
    with pytest.raises(WeightsError, match=r"bomb\.pth: refused, because torch never writes.*is compressed"):
        read_checkpoint(bomb)


def test_an_archive_that_holds_one_record_many_times_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "overlap.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data/0", bytes(10**5))
        first = archive.infolist()[0]
        for number in range(1, 100):
            other = copy.copy(first)
            other.filename = other.orig_filename = f"m/data/{number}"
            archive.filelist.append(other)
    with pytest.raises(WeightsError, match=r"overlap\.pth: refused.*10000000 bytes in a file of"):
        read_checkpoint(path)


def test_a_storage_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "plain.pth", network_weights={"a.weight": torch.ones(257)})
    with zipfile.ZipFile(source) as archive:
        pickled = next(archive.read(name) for name in archive.namelist() if name.endswith(".pkl"))
    short, long = b"M" + (257).to_bytes(2, "little"), b"\x8a\x06" + (2**40).to_bytes(6, "little")
    assert pickled.count(short) == 2  # of the storage, and of the tensor's shape
    path = rezipped(tmp_path / "terabytes.pth", source, pkl=pickled.replace(short, long))
    with pytest.raises(WeightsError, match=r"terabytes\.pth: ") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_program_of_torchscript_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "program.pth")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("program/constants.pkl", b"\x80\x02).")
    with pytest.raises(WeightsError, match=r"program\.pth: refused, because it is a program"):
        read_checkpoint(path)


def test_a_pickle_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = rezipped(tmp_path / "long.pth", saved(tmp_path / "plain.pth"), pkl=bytes(2**26 + 1))
    with pytest.raises(WeightsError, match=r"long\.pth: refused, because its pickle is 67108865 bytes"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(1).expand(2**40),
        torch.ones(2).as_strided((2**20, 2), (0, 1)),
        torch.empty(0, 2**40),
        torch.empty(2**40, device="meta"),
        torch.ones(4, dtype=torch.complex64),
        torch.ones(4).to_sparse(),
    ],
    ids=["stride 0", "rows alike", "no numbers", "meta", "complex", "sparse"],
)
def test_a_shape_without_its_numbers_is_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    path = saved(tmp_path / "promise.pth", network_weights={"a.weight": tensor})
    with pytest.raises(WeightsError, match=r"promise\.pth: .*a\.weight"):
        read_checkpoint(path)


def test_views_of_one_storage_cannot_be_copied_beyond_the_size_of_the_file(tmp_path: Path) -> None:
    whole = torch.ones(1000, 1000)
    views = {f"{rows}.weight": whole[:rows] for rows in range(900, 1000)}
    path = saved(tmp_path / "views.pth", network_weights=views)
    with pytest.raises(WeightsError, match=r"views\.pth: .*more than the \d+ bytes of the file"):
        read_checkpoint(path)


def test_names_of_one_tensor_share_one_copy_that_outlives_the_file(tmp_path: Path) -> None:
    tensor = torch.ones(1000)
    path = saved(tmp_path / "alias.pth", network_weights={f"{number}.weight": tensor for number in range(100)})
    weights = read_checkpoint(path).weights
    path.write_bytes(b"")
    assert len({tensor.data_ptr() for tensor in weights.values()}) == 1
    torch.testing.assert_close(weights["7.weight"], tensor)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "zero.pth").symlink_to("/dev/zero")
    (tmp_path / "linked.pth").symlink_to(saved(tmp_path / "plain.pth"))
    for name in ("pipe.pth", "zero.pth"):
        with pytest.raises(WeightsError, match=f"{name}: .*something else than a file"):
            read_checkpoint(tmp_path / name)
    assert list(read_checkpoint(tmp_path / "linked.pth").weights) == ["a.weight"]


def test_the_older_format_without_an_archive_is_refused(tmp_path: Path) -> None:
    torch.save({"network_weights": {}}, tmp_path / "older.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match=r"older\.pth: not readable as a checkpoint, which is a zip archive"):
        read_checkpoint(tmp_path / "older.pth")


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
