"""A checkpoint is whole or it is not taken: neither a killed writer nor a cut file ever passes for one."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flare_infer.errors import DatasetError
from flare_infer.files.write_whole import PART_PREFIX
from tests.tiny import tiny_spec
from train.fit.checkpoint import BEST_FILE, CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from train.fit.logbook import Logbook
from train.fit.state import State
from train.recipes.recipe import TrainingRecipe, smoke
from train.record.callbacks import TrainingCallbacks

_EDGE_BYTES = 2000
_BETWEEN_BYTES = 97


def tiny_run(run: Path) -> tuple[State, TrainingRecipe]:
    """A run after a step, with momenta, and its checkpoint."""
    recipe = replace(smoke(), spec=tiny_spec())
    state = State.begin(recipe, torch.device("cpu"))
    for parameter in state.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    state.step = 1
    run.mkdir(exist_ok=True)
    state.save(run, recipe)
    return state, recipe


def test_a_checkpoint_cut_off_at_any_byte_is_refused(tmp_path: Path) -> None:
    tiny_run(tmp_path)
    path = tmp_path / CHECKPOINT_FILE
    size = path.stat().st_size
    assert size > 4 * _EDGE_BYTES
    lengths = {*range(_EDGE_BYTES), *range(0, size, _BETWEEN_BYTES), *range(size - _EDGE_BYTES, size)}
    assert load_checkpoint(tmp_path) is not None
    for length in sorted(lengths, reverse=True):
        os.truncate(path, length)
        with pytest.raises(DatasetError) as caught:
            load_checkpoint(tmp_path)
        assert str(caught.value).startswith(f"{path}: not a readable checkpoint ("), length


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from train.fit.checkpoint import load_checkpoint, save_checkpoint
from dataclasses import replace

run, kept = Path(sys.argv[1]), int(sys.argv[2])
save = torch.save

def save_half(content, file):
    save(content, file)
    file.truncate(kept)
    os.kill(os.getpid(), signal.SIGKILL)

torch.save = save_half
save_checkpoint(run, replace(load_checkpoint(run), step=2))
"""


@pytest.mark.parametrize("kept", [0, 20_000])
def test_a_killed_writer_leaves_the_earlier_checkpoint(tmp_path: Path, kept: int) -> None:
    state, recipe = tiny_run(tmp_path)
    before = (tmp_path / CHECKPOINT_FILE).read_bytes()
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(kept)], check=False)
    assert done.returncode == -signal.SIGKILL
    (half,) = tmp_path.glob(f"{PART_PREFIX}*")
    assert half.stat().st_size == kept
    assert (tmp_path / CHECKPOINT_FILE).read_bytes() == before
    (tmp_path / f"{BEST_FILE}.part").touch()  # as earlier versions called it
    Logbook(tmp_path, recipe, state, TrainingCallbacks(), writes=True).close()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(PART_PREFIX) or path.suffix == ".part"]
    went_on = load_checkpoint(tmp_path)
    assert went_on is not None
    assert went_on.step == 1


def test_a_checkpoint_is_on_the_disk_before_it_replaces_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, recipe = tiny_run(tmp_path)
    path = tmp_path / CHECKPOINT_FILE
    before, synced, plain = path.read_bytes(), [], os.fsync

    def watched(handle: int) -> None:
        assert path.read_bytes() == before, "the earlier one stands"
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).read_bytes())
        plain(handle)

    monkeypatch.setattr(os, "fsync", watched)
    state.step = 2
    state.save(tmp_path, recipe)
    assert synced == [path.read_bytes()]
    assert synced != [before]


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    tiny_run(tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint is not None
    (tmp_path / "b").mkdir()
    for run in (tmp_path, tmp_path / "b"):
        save_checkpoint(run, checkpoint)
    assert (tmp_path / CHECKPOINT_FILE).read_bytes() == (tmp_path / "b" / CHECKPOINT_FILE).read_bytes()
