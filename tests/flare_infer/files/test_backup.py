"""Files in the way of a new one are renamed, and none is lost."""

import os
from pathlib import Path

import pytest

from flare_infer.files.backup import keep_old


def test_every_old_file_has_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    for number, name in enumerate(("a.nii.gz.old", "a.nii.gz.old-2", "a.nii.gz.old-3")):
        path.unlink(missing_ok=True)
        path.write_text(str(number))
        assert keep_old(path).name == name
        assert path.exists()
    assert [(tmp_path / f"a.nii.gz.old{end}").read_text() for end in ("", "-2", "-3")] == ["0", "1", "2"]


def test_what_is_kept_already_is_not_kept_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.touch()
    assert keep_old(path) == keep_old(path)
    assert len(list(tmp_path.iterdir())) == 2


def test_without_second_names_the_file_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*arguments: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "a.nii.gz"
    path.write_text("mine")
    assert keep_old(path).read_text() == "mine"
    assert not path.exists()
