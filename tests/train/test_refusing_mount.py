"""Shares that refuse links, mode bits and times: datasets are copied instead of linked, and nothing is lost."""

import errno
import os
from pathlib import Path

import pytest

from flare_infer.labels import ORGANS, TUMOR
from tests.dataset import make_dataset
from train.dataset.cases import read_cases
from train.dataset.clean import CleaningRules
from train.dataset.clean_dataset import clean_dataset
from train.fit.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from train.protocol.gather import gather_images
from train.workflow.stamp import Stamp, read_stamp, write_stamp


@pytest.fixture(autouse=True)
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    for name in ("symlink", "link", "chmod", "utime", "fsync"):
        monkeypatch.setattr(os, name, refuse)


def test_a_cleaned_dataset_holds_copies(tmp_path: Path) -> None:
    cases = read_cases(make_dataset(tmp_path, {"a": (1, 2)}))
    clean_dataset(cases, tmp_path / "clean", CleaningRules(smallest_voxels=1))
    (cleaned,) = read_cases(tmp_path / "clean")
    assert not cleaned.image.is_symlink()
    assert cleaned.image.read_bytes() == cases[0].image.read_bytes()
    assert cleaned.labels.read_bytes() == cases[0].labels.read_bytes()


def test_gathered_images_are_copies(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (TUMOR,), "b": (*ORGANS, TUMOR)})
    images = gather_images(dataset, "tumor_only", tmp_path / "gathered")
    assert list(images) == ["a"]
    assert (tmp_path / "gathered" / images["a"].name).read_bytes() == images["a"].read_bytes()


def test_a_checkpoint_is_kept(tmp_path: Path) -> None:
    checkpoint = Checkpoint(step=1, network={}, optimizer={}, skipped=0, recipe="")
    save_checkpoint(tmp_path, checkpoint)
    assert load_checkpoint(tmp_path) == checkpoint


def test_a_stage_is_stamped(tmp_path: Path) -> None:
    stamp = Stamp(parts={"version": "1"}, state="done")
    write_stamp(tmp_path, "scan", stamp)
    assert read_stamp(tmp_path, "scan") == stamp
