"""A disk that is full ends a command in one line; nothing half written stays, and what was whole stays whole."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from flare_infer.files.write_whole import PART_PREFIX, NotWrittenError
from tests.dataset import make_dataset
from tests.train.commands.test_app import run
from tests.train.tiny_store import make_store
from train.commands.app import app
from train.fit.checkpoint import load_checkpoint, save_checkpoint
from train.recipes.recipe import smoke
from train.store.sealed import check_seal, sealed_folders
from train.store.store import read_store
from train.workers import for_each

FIT = ("--recipe", "smoke", "--device", "cpu")


@contextmanager
def no_file_above(most_bytes: int) -> Iterator[None]:
    """The system refuses to make any file longer, to every library, as it does when a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(PART_PREFIX)]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("most_bytes", [0, 300, 3_000, 30_000])
def test_prepare_on_a_full_disk(tmp_path: Path, most_bytes: int) -> None:
    dataset = make_dataset(tmp_path, {"a": (1, 2), "b": (1, 14)})
    store = tmp_path / "store"
    with no_file_above(most_bytes):
        code, _, stderr = run(app, "prepare", dataset, store, "--recipe", "smoke")
    assert code == 2
    (line,) = stderr.splitlines()
    assert "could not be written" in line
    assert str(store) in line
    assert leftovers(store) == []
    for case in sealed_folders(store):
        check_seal(case)
    assert run(app, "prepare", dataset, store, "--recipe", "smoke")[0] == 0
    assert [case.name for case in read_store(store)] == ["a", "b"]


@pytest.mark.parametrize("most_bytes", [0, 300, 20_000])
def test_fit_on_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path, most_bytes: int) -> None:
    store = make_store(tmp_path / "store", smoke().spec, {"a": (1, 14), "b": (1, 2)}, {"c": (1, 2)})
    trained = tmp_path / "run"
    assert run(app, "fit", store, trained, *FIT)[0] == 0
    checkpoint = load_checkpoint(trained)
    assert checkpoint is not None
    save_checkpoint(trained, replace(checkpoint, step=1))
    before = (trained / "checkpoint.pt").read_bytes()
    assert len(before) > most_bytes
    with no_file_above(most_bytes):
        code, _, stderr = run(app, "fit", store, trained, *FIT)
    assert code == 2
    (line,) = stderr.splitlines()
    assert "could not be written" in line
    assert leftovers(trained) == []
    assert (trained / "checkpoint.pt").read_bytes() == before
    assert run(app, "fit", store, trained, *FIT)[0] == 0
    finished = load_checkpoint(trained)
    assert finished is not None
    assert finished.step == 2


@pytest.mark.parametrize("most_bytes", [0, 300, 20_000])
def test_export_on_a_full_disk_leaves_nothing(tmp_path: Path, most_bytes: int) -> None:
    store = make_store(tmp_path / "store", smoke().spec, {"a": (1, 14)}, {})
    trained, weights = tmp_path / "run", tmp_path / "weights"
    assert run(app, "fit", store, trained, *FIT)[0] == 0
    before = contents(trained)
    with no_file_above(most_bytes):
        code, _, stderr = run(app, "export", trained, store, weights, "--nnunet", tmp_path / "nnunet")
    assert code == 2
    (line,) = stderr.splitlines()
    assert "could not be written" in line
    assert leftovers(tmp_path) == []
    assert not (weights / "model.safetensors").exists()
    assert contents(trained) == before
    assert run(app, "export", trained, store, weights)[0] == 0


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        store, trained = make_store(tmp_path / "store", smoke().spec, {"a": (1, 14)}, {"c": (1,)}), disk / "run"
        assert run(app, "fit", store, trained, *FIT)[0] == 0
        checkpoint = load_checkpoint(trained)
        assert checkpoint is not None
        save_checkpoint(trained, replace(checkpoint, step=1))
        before = (trained / "checkpoint.pt").read_bytes()
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        for arguments in (
            ("fit", store, trained, *FIT),
            ("export", trained, store, disk / "weights"),
            ("prepare", make_dataset(tmp_path, {"a": (1,)}), disk / "store", "--recipe", "smoke"),
        ):
            code, _, stderr = run(app, *arguments)
            assert code == 2
            (line,) = stderr.splitlines()
            assert "No space left on device" in line or "the disk is full" in line
        assert leftovers(disk) == []
        assert (trained / "checkpoint.pt").read_bytes() == before
        filler.unlink()
        assert run(app, "fit", store, trained, *FIT)[0] == 0
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def refused(folder: Path, number: int) -> int:
    (folder / f"{number}").touch()
    raise NotWrittenError(f"{folder}: could not be written (No space left on device)")


def test_what_ends_one_case_ends_the_others(tmp_path: Path) -> None:
    with pytest.raises(NotWrittenError, match="No space left"):
        for_each(partial(refused, tmp_path), list(range(200)), workers=2)
    assert 1 <= len(list(tmp_path.iterdir())) < 200
