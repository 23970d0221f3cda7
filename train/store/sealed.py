"""Folders that appear only when they are complete, with a record of the bytes of their files.

A folder is written under another name and renamed at the end, so a process that is killed leaves nothing that looks
finished. `seal.json` lists size and SHA-256 of every file: what was damaged later is named before it is used. The
compressed arrays themselves do not know: of 200 with one bit turned, 176 were read without an error, with other voxels.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from flare_infer.backends.cores import cores_of_job
from flare_infer.errors import DatasetError
from flare_infer.files.json_file import read_object
from flare_infer.files.write_whole import PART_PREFIX, whole_folder, write_whole

SEAL_FILE: Final = "seal.json"

UNSAID: Final = {"label_set": None}
"""What a record of voxels means that does not speak of it: the challenge's label set."""

EARLIER: Final = {"cleaning": None, **UNSAID}
"""The same of a whole store or folder of objects; those of earlier versions have no field for cleaning, either."""

_MOST_THREADS: Final = 16
"""Most threads that read files; more do not make a disk faster."""

_MOST_BYTES: Final = 2**27
"""Largest size of the file of notes; a case takes about 400 bytes."""


@contextmanager
def sealed_folder(final: Path) -> Iterator[Path]:
    """Inside, the folder to write files to; on leaving it takes the place of `final`, sealed.

    If an error leaves the block, `final` is what it was, and nothing else is left.

    Raises:
        NotWrittenError: if something cannot be written; a disk that is full, above all.
    """
    with whole_folder(final) as part:
        yield part
        files = {path.name: [path.stat().st_size, _sha256(path)] for path in sorted(part.iterdir())}
        (part / SEAL_FILE).write_text(json.dumps(files, indent=1) + "\n", encoding="utf-8")


def sealed_folders(parent: Path) -> list[Path]:
    """The complete folders inside `parent`, in alphabetical order; none if it does not exist."""
    folders = [path.parent for path in parent.glob(f"*/{SEAL_FILE}")]
    return sorted(each for each in folders if not each.name.startswith(PART_PREFIX) and not each.match("*.part"))


def sealed_sha256(folder: Path, without: str) -> str:
    """SHA-256 over all files of a complete folder except one, computed from the records in its seal.

    Args:
        folder: the folder.
        without: name of the file that is left out.

    Raises:
        DatasetError: if there is no seal to read.
    """
    files = {name: recorded for name, recorded in _seal(folder).items() if name != without}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def check_seal(folder: Path) -> None:
    """Compare every file of a finished folder with what was written; reads them whole.

    Raises:
        DatasetError: naming the first file that is missing, cut short or changed.
    """
    for name, recorded in _seal(folder).items():
        path = folder / name
        if not path.is_file():
            raise DatasetError(f"{path}: missing; delete {folder} and prepare again")
        if [path.stat().st_size, _sha256(path)] != recorded:
            raise DatasetError(f"{path}: damaged: not the bytes that were written; delete {folder} and prepare again")


def sealed_description(folder: Path, name: str) -> dict[str, Any]:
    """The JSON file that describes a complete folder; empty if it has none.

    Raises:
        DatasetError: if the file is damaged.
    """
    try:
        return read_object(folder / name, DatasetError)
    except FileNotFoundError:
        return {}


def is_made_from(folder: Path, name: str, key: dict[str, Any]) -> bool:
    """Whether a folder is complete and undamaged, and its description, of that name, says that it was made from this.

    Args:
        folder: the folder.
        name: name of the JSON file that describes it.
        key: what it would be made from now, and how.
    """
    if folder not in sealed_folders(folder.parent):
        return False
    try:
        check_seal(folder)
        return bool(sealed_description(folder, name).get("key") == key)
    except DatasetError:
        return False


def check_seals(folders: Sequence[Path], remembered: Path | None = None) -> dict[Path, str]:
    """Compare the files of many finished folders with what was written, several files at a time.

    Args:
        folders: the folders to check.
        remembered: a JSON file that records size, times of change and inode of files found sound; files that still
            have these are not read again. None reads all files.

    Returns:
        the problem of every damaged folder.
    """
    known = _notes_in(remembered)
    with ThreadPoolExecutor(max_workers=min(_MOST_THREADS, cores_of_job())) as threads:
        found = dict(zip(folders, threads.map(lambda folder: _checked(folder, known), folders), strict=True))
    notes = known | {str(folder): result for folder, result in found.items() if isinstance(result, list)}
    if remembered is not None and notes != known:
        remembered.parent.mkdir(parents=True, exist_ok=True)
        write_whole(remembered, json.dumps(notes) + "\n")
    return {folder: result for folder, result in found.items() if isinstance(result, str)}


def _seal(folder: Path) -> dict[str, Any]:
    try:
        return read_object(folder / SEAL_FILE, DatasetError)
    except FileNotFoundError as error:
        raise DatasetError(f"{folder / SEAL_FILE}: missing; delete {folder} and prepare again") from error


def _checked(folder: Path, known: Mapping[str, Any]) -> list[Any] | str:
    """The note on a folder that is sound, or its problem as a text."""
    # Taken first, so that a change while the files are read is noticed the next time.
    note = _note(folder)
    if known.get(str(folder)) != note:
        try:
            check_seal(folder)
        except DatasetError as error:
            return str(error)
    return note


def _note(folder: Path) -> list[Any]:
    """For each file of a folder the values that change when it is written to."""
    files = [(path.name, path.stat()) for path in sorted(folder.glob("*"))]
    return [[name, each.st_size, each.st_mtime_ns, each.st_ctime_ns, each.st_ino] for name, each in files]


def _notes_in(remembered: Path | None) -> dict[str, Any]:
    """The recorded notes; none if the file cannot be read."""
    if remembered is None:
        return {}
    try:
        return read_object(remembered, DatasetError, most_bytes=_MOST_BYTES)
    except (FileNotFoundError, DatasetError):
        return {}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
