"""Files and folders are whole under their names, or as they were: after errors, kills and losses of power."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flare_infer.files.write_whole import (
    PART_PREFIX,
    NotWrittenError,
    link_or_copy,
    remove_parts,
    whole_file,
    whole_folder,
    write_json,
    write_whole,
)


def as_it_was(path: Path) -> bool:
    return path.read_text(encoding="utf-8") == "old" and list(path.parent.iterdir()) == [path]


def half(path: Path, error: BaseException, **options: bool) -> None:
    with whole_file(path, **options) as part:
        part.write_text("ne")
        raise error


def half_folder(path: Path, error: BaseException) -> None:
    with whole_folder(path) as part:
        (part / "a").write_text("ne")
        raise error


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    for error in (OSError(28, "No space left on device"), RuntimeError("enforce fail\nat line 7")):
        with pytest.raises(NotWrittenError, match=r"could not be written \((No space|enforce fail)"):
            half(path, error)
        assert as_it_was(path)
        with pytest.raises(type(error)):
            half(path, error, explained=False)
        assert as_it_was(path)
    with pytest.raises(KeyboardInterrupt):
        half(path, KeyboardInterrupt())
    assert as_it_was(path)
    write_whole(path, "new\r\n")
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"new\r\n", [path])


def test_a_folder_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(NotWrittenError, match="No space"):
        half_folder(path, OSError(28, "No space left on device"))
    assert sorted(tmp_path.rglob("*")) == [path, path / "old"]
    with whole_folder(path) as part:
        (part / "new").touch()
    assert sorted(tmp_path.rglob("*")) == [path, path / "new"]


def test_a_name_may_be_as_long_as_names_can_be_or_no_unicode(tmp_path: Path) -> None:
    for name in ("x" * 255, os.fsdecode(b"\xff")):
        write_json(tmp_path / name, [1])
        assert (tmp_path / name).read_text(encoding="utf-8") == "[\n 1\n]\n"
    write_whole(tmp_path / "names", os.fsdecode(b"\xff"))
    assert (tmp_path / "names").read_text(encoding="utf-8") == "\\udcff"


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_everything_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("a", "b", "folder", "folder/x", "folder/inner/y")
    seen: list[str] = []
    plain = os.fsync

    def watched(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        seen.append(path.read_text(encoding="utf-8"))
        assert not any((tmp_path / name).exists() for name in names if name not in seen)
        plain(handle)

    monkeypatch.setattr(os, "fsync", watched)
    write_whole(tmp_path / "a", "a")
    with whole_file(tmp_path / "b", ".ending") as part:
        assert part.name.startswith(f"{PART_PREFIX}{os.getpid()}-")
        assert part.suffix == ".ending"
        part.write_text("b")
    with whole_folder(tmp_path / "folder") as part:
        (part / "x").write_text("folder/x")
        (part / "inner").mkdir()
        (part / "inner" / "y").write_text("folder/inner/y")
    assert sorted(seen) == sorted(set(names) - {"folder"})
    seen.clear()
    write_whole(tmp_path / "a", "again", synced=False)
    assert not seen


def test_a_link_takes_the_place_of_what_is_there_and_its_file_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, place = tmp_path / "source", tmp_path / "place"
    source.write_text("source")
    place.write_text("old")
    link_or_copy(source, place)
    assert place.readlink() == source.resolve()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    link_or_copy(source, place)
    assert (place.is_symlink(), place.read_text(encoding="utf-8")) == (False, "source")
    with pytest.raises(FileNotFoundError):
        link_or_copy(tmp_path / "missing", place)
    assert place.read_text(encoding="utf-8") == "source"
    assert sorted(tmp_path.iterdir()) == [place, source]


KILLED = """
import os, signal, sys
from pathlib import Path
from flare_infer.files.write_whole import whole_file, whole_folder

with whole_folder(Path(sys.argv[1]) / "folder") as folder, whole_file(Path(sys.argv[1]) / "a") as part:
    (folder / "x").write_text("ne")
    part.write_text("ne")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_leaves_is_known_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text(encoding="utf-8") == "old"
    left = [each.name for each in tmp_path.iterdir() if each != path]
    assert len(left) == 2
    assert all(name.startswith(PART_PREFIX) for name in left)
    (tmp_path / "b.part").touch()
    remove_parts(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "b.part"]
    remove_parts(tmp_path, "*.part")
    assert as_it_was(path)
