"""What went into a stage, as a hash that is kept beside its result.

::

    RUN/stamps/STAGE.json    {"state": "started" or "done", "sha256": ..., "parts": {...}, "command": ..., ...}

The hash covers the version of this program, the stage's settings, the identities of files from outside (name, size and
time of last change; of JSON files the content) and the hashes of the stages it reads from. Device, number of workers
and places of folders are no part of it: they move roundings, or nothing.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from flare_infer.errors import ReportError
from flare_infer.files.json_file import read_object
from flare_infer.files.write_whole import write_json
from flare_infer.version import __version__
from train.differences import differing_fields
from train.workflow.stage import Stage

STAMPS: Final = "stamps"
_AFTER: Final = "stage "
_INPUT: Final = "input "


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What is known of a stage.

    Attributes:
        parts: what went in, by name; a stage it reads from is `stage NAME`, files from outside are `input NAME`.
        state: whether it was started or done with that.
        seconds: it took, over all starts that are known; 0 while it is not done.
        command: as it was started.
    """

    parts: Mapping[str, Any]
    state: Literal["started", "done"] = "started"
    seconds: float = 0.0
    command: str = ""

    @property
    def sha256(self) -> str:
        """Equal for equal parts."""
        return hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()


def fresh_stamps(stages: Sequence[Stage]) -> dict[str, Stamp]:
    """The stamps that stages would get now, by name; each stage comes after those it reads from."""
    stamps: dict[str, Stamp] = {}
    known = cache(identity)  # several stages read the same thousands of files
    for stage in stages:
        parts: dict[str, Any] = {"version": __version__, **stage.settings}
        parts |= {f"{_INPUT}{name}": known(tuple(paths)) for name, paths in stage.inputs.items()}
        parts |= {f"{_AFTER}{name}": stamps[name].sha256 for name in stage.after}
        # As JSON gives it back: tuples are lists there.
        stamps[stage.name] = Stamp(parts=json.loads(json.dumps(parts)), command=stage.line)
    return stamps


def identity(paths: Sequence[Path]) -> dict[str, Any]:
    """By what files, and all files of folders, are known again: names, sizes, times of change; JSON by its content."""
    digest = hashlib.sha256()
    count = size = 0
    for name, file in (found for path in paths for found in _files(path)):
        status = file.stat()
        changed = file.read_bytes().hex() if file.suffix == ".json" else str(status.st_mtime_ns)
        digest.update(f"{name}\0{status.st_size}\0{changed}\n".encode())
        count += 1
        size += status.st_size
    return {"files": count, "bytes": size, "sha256": digest.hexdigest()}


def read_stamp(run: Path, name: str) -> Stamp | None:
    """What is known of a stage; None if nothing is.

    Raises:
        ReportError: if the file is damaged.
    """
    path = _path(run, name)
    try:
        content = read_object(path, ReportError)
    except FileNotFoundError:
        return None
    try:
        stamp = Stamp(**{key: content[key] for key in ("parts", "state", "seconds", "command")})
    except KeyError as error:
        raise ReportError(
            f"{path}: no stamp of a stage ({error} is missing); delete it to run the stage anew"
        ) from error
    if stamp.sha256 != content.get("sha256"):
        raise ReportError(f"{path}: was changed since it was written; delete it to run the stage anew")
    return stamp


def write_stamp(run: Path, name: str, stamp: Stamp) -> None:
    """Record a stage; the file is replaced as a whole, and nobody else's is touched: stages may run side by side."""
    path = _path(run, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"state": stamp.state, "sha256": stamp.sha256, "seconds": round(stamp.seconds, 3)}
    content |= {"command": stamp.command, "parts": stamp.parts}
    write_json(path, content, explained=False)


def differences(old: Stamp, new: Stamp) -> list[str]:
    """What differs between two stamps, in words; the stages that a stage reads from come last."""
    lines = []
    for name in sorted(old.parts.keys() | new.parts.keys(), key=lambda name: (name.startswith(_AFTER), name)):
        before, now = old.parts.get(name), new.parts.get(name)
        if before != now:
            lines += _difference(name, before, now)
    return lines


def _difference(name: str, before: Any, now: Any) -> list[str]:
    if name.startswith(_AFTER):
        return [f"{name.removeprefix(_AFTER)} changed"]
    if name.startswith(_INPUT):
        counts = [part["files"] if part else 0 for part in (before, now)]
        files = f"{counts[0]} files, now {counts[1]}" if counts[0] != counts[1] else "files changed"
        return [f"{name.removeprefix(_INPUT)}: {files}"]
    return list(differing_fields({name: before}, {name: now}))


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield path.name, path
    for folder, inside, files in os.walk(path, followlinks=True):
        inside.sort()
        for name in sorted(files):
            file = Path(folder, name)
            if not name.startswith(".") and file.is_file():
                yield file.relative_to(path.parent).as_posix(), file


def _path(run: Path, name: str) -> Path:
    return run / STAMPS / f"{name}.json"
