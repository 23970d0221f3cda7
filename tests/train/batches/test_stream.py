"""The loader: what it draws does not depend on the number of workers, and its workers end with it."""

import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_infer.errors import DatasetError, UsageError
from tests.dataset import make_dataset
from train.batches.samples import Sample, Samples
from train.batches.stream import stream_samples, usual_workers
from train.dataset.cases import read_cases
from train.recipes.recipe import TrainingRecipe, smoke
from train.sampling.sampler import Sampling
from train.store.extract_tumors import Margins, extract_objects
from train.store.prepare import prepare_cases
from train.store.store import read_store
from train.store.tumor_objects import read_objects

RECIPE = replace(smoke(), batch=4, cutmix=True, sampling=Sampling(type_sampling="proportional"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stream")
    cases = read_cases(make_dataset(folder, {"organs": (1, 2, 3, 13), "tumor": (1, 14)}))
    prepare_cases(cases, RECIPE.spec, folder / "store")
    extract_objects(cases, RECIPE.spec, Margins(), folder / "objects")
    return folder


def samples_of(folder: Path, recipe: TrainingRecipe = RECIPE) -> Samples:
    return Samples(recipe, read_store(folder / "store"), read_objects(folder / "objects"))


def same(first: Sample, second: Sample) -> bool:
    return (
        torch.equal(first.patch.image_zyx, second.patch.image_zyx)
        and torch.equal(first.patch.labels_zyx, second.patch.labels_zyx)
        and (first.patch.annotated, first.paste) == (second.patch.annotated, second.paste)
    )


def test_any_number_of_workers_draws_the_same_and_a_rank_draws_its_part(folder: Path) -> None:
    samples = samples_of(folder)
    here = list(stream_samples(samples, range(3, 9), range(4)))
    assert [len(batch) for batch in here] == [4] * 6
    assert len({sample.paste for batch in here for sample in batch}) > 1, "pastes are among them"
    with closing(stream_samples(samples, range(3, 9), range(2, 4), workers=2)) as batches:
        for mine, theirs in zip(batches, here, strict=True):
            assert all(same(*pair) for pair in zip(mine, theirs[2:], strict=True))


def test_the_number_of_threads_does_not_change_a_sample(folder: Path) -> None:
    samples, before = samples_of(folder), torch.get_num_threads()
    drawn = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        drawn.append([sample for batch in stream_samples(samples, range(20), range(2)) for sample in batch])
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert all(same(*pair) for pair in zip(*drawn, strict=True))


def test_what_a_worker_is_handed_grows_with_the_number_of_cases_and_not_with_their_voxels(folder: Path) -> None:
    assert len(pickle.dumps(samples_of(folder))) < 10_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_cases_and_objects_hold_no_file_open(folder: Path) -> None:
    samples_of(folder)
    before = len(os.listdir("/proc/self/fd"))
    held = samples_of(folder)
    assert len(os.listdir("/proc/self/fd")) == before
    held.draw(0, 0)
    assert len(os.listdir("/proc/self/fd")) == before


def test_locations_and_objects_that_are_gone_are_named(folder: Path, tmp_path: Path) -> None:
    for name in ("store", "objects"):
        shutil.copytree(folder / name, tmp_path / name)
    by_class = replace(RECIPE, sampling=Sampling(foreground=1.0))
    samples = samples_of(tmp_path, by_class)
    for path in (tmp_path / "store").glob("*/locations.npy"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"locations\.npy: damaged"):
        samples.draw(0, 0)
    objects = read_objects(tmp_path / "objects")
    (tmp_path / "objects" / "tumor" / "000_image.npy").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"000_image\.npy: damaged"):
        np.asarray(objects[0].image_zyx)


def test_a_file_damaged_while_training_is_named_by_a_worker_as_by_this_process(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    cases = read_cases(folder / "dataset")
    prepare_cases(cases[:1], RECIPE.spec, broken)
    samples = Samples(smoke(), read_store(broken))
    image = broken / "organs" / "image.b2nd"
    image.write_bytes(image.read_bytes()[:200])
    messages = []
    for workers in (0, 1):
        with pytest.raises(DatasetError, match="damaged") as caught:
            next(stream_samples(samples, range(2), range(2), workers))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert str(image) in messages[0]


def test_fewer_than_no_workers_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="no worker or more, found -1"):
        stream_samples(samples_of(folder), range(1), range(1), workers=-1)


def test_the_usual_number_of_workers_follows_the_device_and_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.batches.stream.cores_of_job", lambda: 12)
    assert usual_workers(torch.device("cpu")) == 0
    assert [usual_workers(torch.device("cuda"), ranks) for ranks in (1, 2, 4, 16)] == [8, 6, 3, 1]


PARENT = """
import multiprocessing, pathlib, signal, sys, time
from tests.train.batches.test_stream import samples_of
from train.batches.stream import stream_samples

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests run in the background inherit that it is ignored
    batches = stream_samples(samples_of(pathlib.Path(sys.argv[1])), range(100), range(2), workers=1)
    next(batches)
    try:
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print(len(next(batches)), flush=True)
        batches.close()
        print(len(multiprocessing.active_children()), flush=True)
        time.sleep(60)
"""


def lives(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def ends(process: int) -> bool:
    for _ in range(100):
        if not lives(process):
            return True
        time.sleep(0.1)
    return False


@pytest.fixture
def parent(folder: Path, tmp_path: Path) -> "subprocess.Popen[str]":
    """A process with one worker, leader of a group of its own."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, str(script), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def line_of(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_leaves_the_workers_to_the_main_process_and_its_death_ends_them(
    parent: "subprocess.Popen[str]",
) -> None:
    with parent:
        worker = line_of(parent)
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does: to all of the group
        assert line_of(parent) == 2, "the worker still draws"
        assert line_of(parent) == 0, "closing ends it"
        assert ends(worker)
        parent.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_ends_when_its_parent_is_killed(parent: "subprocess.Popen[str]") -> None:
    with parent:
        worker = line_of(parent)
        os.kill(worker, signal.SIGTERM)
        assert lives(worker)
        parent.kill()
        assert ends(worker)


@pytest.mark.parametrize("noticed", [False, True], ids=["at once", "later"])
def test_a_worker_that_the_system_ended_is_told_of(folder: Path, noticed: bool) -> None:
    with closing(stream_samples(samples_of(folder), range(50), range(2), workers=1)) as batches:
        next(batches)
        (worker,) = multiprocessing.active_children()
        worker.kill()
        if noticed:
            worker.join()
            time.sleep(0.3)
        with pytest.raises(UsageError, match="ended from outside"):
            list(batches)
