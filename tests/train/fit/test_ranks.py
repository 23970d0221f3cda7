"""Several processes train one model as one process would, stop together, and leave one set of files."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from flare_infer.errors import UsageError
from tests.train import one_of_two_ranks
from tests.train.one_of_two_ranks import RECIPE, gradients
from tests.train.tiny_store import make_store
from train.fit import state, validate
from train.fit import step as step_module
from train.fit.bad_batch import BAD_BATCH_FILE
from train.fit.checkpoint import load_checkpoint
from train.fit.loop import fit
from train.fit.ranks import Ranks, torchrun_ranks
from train.recipes.recipe import smoke
from train.record.csv_table import read_table
from train.record.journal import VALIDATION_FILE, read_journal

CPU = torch.device("cpu")


def free_ports() -> list[str]:
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        return [str(probe.getsockname()[1]) for probe in (first, second)]


@contextmanager
def two_processes(store: Path, folder: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Started as torchrun would start them; none outlives the block."""
    port, next_port = free_ports()
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, one_of_two_ranks.__file__, str(store), str(folder), next_port]
    processes = []
    for rank in ("0", "1"):
        environment = os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, env=environment, text=True, **pipes))
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    training = {"organs": (1, 2, 3, 13), "tumor": (1, 14)}
    validation = {"a": (1, 14), "b": (1, 2), "c": (1, 3)}
    return make_store(tmp_path_factory.mktemp("ranks") / "store", smoke().spec, training, validation)


@dataclass(frozen=True)
class Ended:
    """What two processes left, and how they ended when the second was sent SIGTERM."""

    folder: Path
    codes: list[int]
    first_stderr: str


@pytest.fixture(scope="module")
def ended(store: Path) -> Ended:
    folder = store.parent / "found"
    folder.mkdir()
    with two_processes(store, folder) as processes:
        while len(read_journal(folder / "endless")) < 2:
            codes = [process.poll() for process in processes]
            assert codes == [None, None], [process.communicate() for process in processes]
            time.sleep(0.05)
        processes[1].send_signal(signal.SIGTERM)
        (_, stderr), _ = [process.communicate() for process in processes]
    return Ended(folder, [process.returncode for process in processes], stderr)


@pytest.fixture(scope="module")
def folder(ended: Ended) -> Path:
    return ended.folder


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (step_module, state, validate):
        monkeypatch.setattr(module, "autocast_type", lambda device: None)


def found_by(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    first, second = (torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2))
    return first, second


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    one, other = (torch.cat([weights[name].flatten() for name in first]) for weights in (first, second))
    return float((one - other).norm() / one.norm())


@pytest.mark.usefixtures("in_float32")
def test_gradients_of_two_halves_are_those_of_the_whole(store: Path, folder: Path) -> None:
    whole = gradients(store, Ranks(device=CPU))
    first, second = found_by(folder)
    for expected, here, there in zip(whole, first["gradients"], second["gradients"], strict=True):
        assert expected is not None
        assert torch.equal(here, there)
    # Of float32, whose sums were made in another order: 6e-8 a number.
    one, other = (torch.cat([gradient.flatten() for gradient in each]) for each in (whole, first["gradients"]))
    assert (one - other).norm() < 1e-6 * one.norm()


@pytest.mark.usefixtures("in_float32")
def test_a_run_of_two_is_the_run_of_one(store: Path, folder: Path, tmp_path: Path) -> None:
    whole = fit(RECIPE, store, tmp_path, CPU).state_dict()
    first, second = found_by(folder)
    assert equal(first["whole"], second["whole"])
    assert distance(whole, first["whole"]) < 1e-5
    checkpoint = load_checkpoint(folder / "whole")
    assert checkpoint is not None
    assert checkpoint.step == 4
    assert equal(checkpoint.network, first["whole"])
    losses, expected = ([float(row["loss"]) for row in read_journal(run)] for run in (folder / "whole", tmp_path))
    assert losses == pytest.approx(expected, rel=1e-5)
    validations, alone = (read_table(run / VALIDATION_FILE) for run in (folder / "whole", tmp_path))
    assert [row["step"] for row in validations] == ["2", "4"]
    # A voxel at the edge of two classes may fall to the other.
    assert [float(row["score"]) for row in validations] == pytest.approx(
        [float(row["score"]) for row in alone], abs=0.01
    )
    assert len(list((folder / "whole" / "pictures").iterdir())) in {3, 6}


@pytest.mark.usefixtures("in_float32")
def test_one_that_is_asked_to_stop_stops_both_and_another_number_goes_on(store: Path, folder: Path) -> None:
    first, second = found_by(folder)
    assert equal(first["stopped"], second["stopped"])
    stopped = load_checkpoint(folder / "stopped")
    assert stopped is not None
    assert equal(stopped.network, first["stopped"])
    assert 0 < stopped.step < 4
    alone = fit(RECIPE, store, folder / "stopped", CPU).state_dict()
    assert [row["step"] for row in read_journal(folder / "stopped")] == ["0", "1", "2", "3"]
    assert distance(first["whole"], alone) < 1e-5


def test_a_loss_that_is_no_number_in_one_ends_both(store: Path, folder: Path) -> None:
    first, second = found_by(folder)
    assert "the loss of step 1 is not finite" in first["bad loss"]
    assert first["bad loss"] == second["bad loss"]
    bad = torch.load(folder / "loss" / BAD_BATCH_FILE, weights_only=True)
    assert bad["step"] == 1
    assert bad["images_nzyx"].shape[0] == RECIPE.batch // 2
    assert bad["cases"][0] in first["bad loss"]
    kept = load_checkpoint(folder / "loss")
    assert kept is not None
    assert kept.step == 1


def test_a_gradient_that_is_not_finite_in_one_is_passed_over_by_both(folder: Path) -> None:
    first, second = found_by(folder)
    assert first["bad gradient"] == second["bad gradient"] == ""
    checkpoint = load_checkpoint(folder / "gradient")
    assert checkpoint is not None
    assert checkpoint.skipped == 1
    assert [row["skipped"] for row in read_journal(folder / "gradient")] == ["False", "True", "False", "False"]


def test_sigterm_to_one_saves_and_ends_both(ended: Ended) -> None:
    assert ended.codes == [1, 1]
    run = ended.folder / "endless"
    assert ended.first_stderr == f"error: {run}: interrupted, state saved; the same command goes on from there\n"
    checkpoint = load_checkpoint(run)
    assert checkpoint is not None
    assert [int(row["step"]) for row in read_journal(run)] == list(range(checkpoint.step))


def test_a_batch_is_divided_evenly_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = [Ranks(device=CPU, rank=rank, count=4).share(8) for rank in range(4)]
    assert [list(share) for share in shares] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    with pytest.raises(UsageError, match="a batch of 4 patches cannot be divided among 3 processes"):
        Ranks(device=CPU, count=3).share(4)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one device for several processes"), torchrun_ranks("cuda:1"):
        pass
