"""Prepared cases on disk: whole or not there, never trained on when damaged."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flare_infer.errors import DatasetError, UsageError
from flare_infer.files.write_whole import PART_PREFIX
from flare_infer.model.spec import Normalization
from tests.dataset import make_dataset
from train.dataset.cases import read_cases
from train.fit.matching_store import recipe_for_store
from train.problems import ProblemsError
from train.recipes.recipe import smoke
from train.store import sealed
from train.store.arrays import open_array, write_array
from train.store.prepare import prepare_case, prepare_cases
from train.store.sealed import check_seal, check_seals, sealed_folder
from train.store.store import PreparedCase, read_names, read_store, write_case
from train.workers import for_each

SPEC = smoke().spec

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from train.store import store
from train.dataset.cases import read_cases
from train.store.prepare import prepare_cases
from train.recipes.recipe import smoke

write, calls = store.write_array, []

def write_or_die(path, array_zyx):
    calls.append(path)
    if len(calls) == 6:  # the labels of the third case
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, array_zyx)

store.write_array = write_or_die
prepare_cases(read_cases(Path(sys.argv[1])), smoke().spec, Path(sys.argv[2]))
"""


def test_kill_9_while_preparing_loses_nothing(tmp_path: Path) -> None:
    dataset, store = make_dataset(tmp_path, dict.fromkeys("abcd", (1, 2))), tmp_path / "store"
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(dataset), str(store)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(store.glob(f"{PART_PREFIX}*/image.b2nd"))) == 1, "killed in the middle of a case"
    (store / "d.part").mkdir()  # as earlier versions called it
    with pytest.raises(DatasetError, match="did not finish"):
        read_store(store)
    finished = {path: path.stat().st_mtime_ns for path in sorted(store.glob("[ab]/*"))}
    assert len(finished) == 10
    prepare_cases(read_cases(dataset), SPEC, store)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "what was finished is kept"
    assert [case.name for case in read_store(store)] == list("abcd")
    assert sorted(path.name for path in store.iterdir() if path.is_dir()) == list("abcd"), "and nothing half is left"


def test_what_is_read_is_what_was_prepared(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1, 2, 14)})
    (case,) = read_cases(dataset)
    prepared = prepare_case(case, SPEC)
    prepare_cases([case], SPEC, tmp_path / "store")
    (stored,) = read_store(tmp_path / "store")
    assert stored.shape == prepared.shape
    assert stored.annotated == (1, 2, 14)
    np.testing.assert_array_equal(np.asarray(stored.image_zyx), prepared.image_zyx)
    np.testing.assert_array_equal(np.asarray(stored.labels_zyx), prepared.labels_zyx)
    assert list(stored.locations) == list(prepared.locations)
    for code, where in prepared.locations.items():
        np.testing.assert_array_equal(stored.locations[code], where)


def test_a_box_of_a_stored_array_is_that_box(tmp_path: Path) -> None:
    array = (np.arange(40 * 70 * 65).reshape(40, 70, 65) % 1009).astype(np.float16)
    write_array(tmp_path / "array.b2nd", array)
    stored = open_array(tmp_path / "array.b2nd")
    assert (stored.shape, stored.dtype) == ((40, 70, 65), np.float16)
    box = (slice(31, 33), slice(0, 70), slice(60, 65))
    np.testing.assert_array_equal(stored[box], array[box])
    np.testing.assert_array_equal(np.asarray(stored), array)


def test_every_damaged_file_is_named_and_prepared_again(tmp_path: Path) -> None:
    dataset, store = make_dataset(tmp_path, dict.fromkeys("abcd", (1, 2))), tmp_path / "store"
    prepare_cases(read_cases(dataset), SPEC, store)
    flipped = bytearray((store / "a" / "image.b2nd").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (store / "a" / "image.b2nd").write_bytes(flipped)
    (store / "b" / "labels.b2nd").write_bytes(b"short")
    (store / "c" / "locations.npy").unlink()
    with pytest.raises(ProblemsError) as caught:
        read_store(store)
    for line, file in zip(caught.value.problems, ("a/image.b2nd", "b/labels.b2nd", "c/locations.npy"), strict=True):
        assert line.startswith(f"{store / file}: ")
    untouched = (store / "d" / "image.b2nd").stat().st_mtime_ns
    prepare_cases(read_cases(dataset), SPEC, store)
    assert [case.name for case in read_store(store)] == list("abcd")
    assert (store / "d" / "image.b2nd").stat().st_mtime_ns == untouched


def test_a_file_that_was_sound_is_read_again_only_if_somebody_wrote_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        with sealed_folder(folder) as part:
            (part / "voxels").write_bytes(folder.name.encode() * 100)
    remembered = tmp_path / "run" / "checked.json"
    read: list[str] = []

    def noticed(folder: Path) -> None:
        read.append(folder.name)
        check_seal(folder)

    monkeypatch.setattr(sealed, "check_seal", noticed)
    assert check_seals(folders, remembered) == {}
    assert sorted(read) == ["a", "b", "c"]
    assert check_seals(folders, remembered) == {}
    assert sorted(read) == ["a", "b", "c"]

    # The same size and the same time of change: only the time that nobody can set tells.
    voxels = folders[1] / "voxels"
    before = voxels.stat()
    voxels.write_bytes(b"x" * 100)
    os.utime(voxels, ns=(before.st_atime_ns, before.st_mtime_ns))
    (folders[2] / "voxels").unlink()
    damaged = check_seals(folders, remembered)
    assert sorted(read) == ["a", "b", "b", "c", "c"]
    assert set(damaged) == {folders[1], folders[2]}
    assert "voxels: damaged" in damaged[folders[1]]
    assert "voxels: missing" in damaged[folders[2]]
    assert set(check_seals(folders, remembered)) == set(damaged), "what is damaged is not remembered as sound"
    remembered.write_text("not a note")
    assert set(check_seals(folders, remembered)) == set(damaged)


def test_validation_cases_are_kept_apart(tmp_path: Path) -> None:
    dataset, store = make_dataset(tmp_path, dict.fromkeys("abc", (1, 2))), tmp_path / "store"
    (dataset / "splits.json").write_text('{"validation": ["b"]}')
    prepare_cases(read_cases(dataset), SPEC, store)
    assert [case.name for case in read_store(store)] == ["a", "c"]
    assert [case.name for case in read_store(store, "validation")] == ["b"]
    (dataset / "splits.json").write_text('{"validation": ["c"]}')
    image = (store / "b" / "image.b2nd").stat().st_mtime_ns
    prepare_cases(read_cases(dataset), SPEC, store)
    assert [case.name for case in read_store(store)] == ["a", "b"]
    assert (store / "b" / "image.b2nd").stat().st_mtime_ns == image, "another split needs no other voxels"


def test_cases_that_left_the_dataset_are_not_trained_on(tmp_path: Path) -> None:
    dataset, store = make_dataset(tmp_path, dict.fromkeys("ab", (1, 2))), tmp_path / "store"
    prepare_cases(read_cases(dataset), SPEC, store)
    for path in (dataset / "imagesTr" / "a_0000.nii.gz", dataset / "labelsTr" / "a.nii.gz"):
        path.unlink()
    prepare_cases(read_cases(dataset), SPEC, store)
    assert [case.name for case in read_store(store)] == ["b"]


def test_a_case_without_locations_can_be_stored(tmp_path: Path) -> None:
    zeros = np.zeros((3, 4, 5), dtype=np.uint8)
    case = PreparedCase(name="a", annotated=(1,), image_zyx=zeros.astype(np.float16), labels_zyx=zeros, locations={})
    write_case(tmp_path, case, {})
    with pytest.raises(DatasetError, match="did not finish"):
        read_names(tmp_path, "training")


def test_several_workers_make_the_same_store(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1, 2), "b": (1, 14), "c": (1, 2)})
    (dataset / "annotated.json").write_text('{"a": [1, 2], "b": [1, 14], "c": [1]}')
    steps: list[int] = []
    for name, workers in (("one", 1), ("two", 2)):
        with pytest.raises(ProblemsError) as caught:
            prepare_cases(read_cases(dataset), SPEC, tmp_path / name, lambda: steps.append(1), workers)
        (line,) = caught.value.problems
        assert line.startswith("c: labels hold 2 right kidney")
    assert len(steps) == 6
    for one, two in zip(read_store(tmp_path / "one"), read_store(tmp_path / "two"), strict=True):
        assert one.name == two.name
        np.testing.assert_array_equal(np.asarray(one.image_zyx), np.asarray(two.image_zyx))


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_workers_do_not_outlive_a_parent_that_is_killed() -> None:
    script = "import time; from train.workers import for_each; for_each(time.sleep, [999.0] * 2, 2)"
    parent = subprocess.Popen([sys.executable, "-c", script])
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    while len(children.read_text().split()) < 3:  # two workers, and the tracker of multiprocessing
        assert parent.poll() is None
        time.sleep(0.05)
    processes = children.read_text().split()
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 120
    while any(alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [process for process in processes if alive(process)]
    for process in left:
        os.kill(int(process), signal.SIGKILL)
    assert not left, "workers sleep on"


def alive(process: str) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_work_needs_a_worker() -> None:
    assert for_each(abs, [-1, 2]) == [1, 2]
    with pytest.raises(UsageError, match="at least one worker"):
        for_each(abs, [1], workers=0)


def test_training_takes_the_normalization_of_the_store_and_refuses_another_grid(tmp_path: Path) -> None:
    dataset, store = make_dataset(tmp_path, {"a": (1, 2)}), tmp_path / "store"
    measured = Normalization(clip_low_hu=-50.0, clip_high_hu=200.0, mean_hu=60.0, std_hu=30.0)
    prepare_cases(read_cases(dataset), replace(SPEC, normalization=measured), store)
    assert recipe_for_store(store, smoke()).spec == replace(SPEC, normalization=measured)
    other = replace(smoke(), spec=replace(SPEC, spacing_mm=(8.0, 4.0, 4.0)))
    with pytest.raises(DatasetError, match=r"spacing_mm is \[8.0, 8.0, 8.0\], the recipe's \[8.0, 4.0, 4.0\]"):
        recipe_for_store(store, other)


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "seal.json").write_text("{}")
    dataset = make_dataset(tmp_path / "data", {"a": (1, 2)})
    with pytest.raises(UsageError, match="no prepared case"):
        prepare_cases(read_cases(dataset), SPEC, tmp_path)
