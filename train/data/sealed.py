"""Folders that appear only when they are whole, and know the bytes of their files.

A folder is written under another name and renamed at the end, so a process that is killed leaves nothing that looks
finished. `seal.json` lists size and SHA-256 of every file: what was damaged later is named before it is used.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from flare_infer.errors import DatasetError
from flare_infer.json_file import read_object

SEAL_FILE: Final = "seal.json"
PART_SUFFIX: Final = ".part"


@contextmanager
def sealed_folder(final: Path) -> Iterator[Path]:
    """Inside, the folder to write files to; on leaving it takes the place of `final`, sealed.

    If an error leaves the block, `final` is what it was.
    """
    part = final.with_name(final.name + PART_SUFFIX)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    files = {path.name: [path.stat().st_size, _sha256(path)] for path in sorted(part.iterdir())}
    (part / SEAL_FILE).write_text(json.dumps(files, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)


def sealed_folders(parent: Path) -> list[Path]:
    """The finished folders inside `parent`, in alphabetical order; none if it does not exist."""
    return sorted(path.parent for path in parent.glob(f"*/{SEAL_FILE}") if path.parent.suffix != PART_SUFFIX)


def check_seal(folder: Path) -> None:
    """Compare every file of a finished folder with what was written; reads them whole.

    Raises:
        DatasetError: naming the first file that is missing, cut short or changed.
    """
    try:
        files = read_object(folder / SEAL_FILE, DatasetError)
    except FileNotFoundError as error:
        raise DatasetError(f"{folder / SEAL_FILE}: missing; delete {folder} and prepare again") from error
    for name, recorded in files.items():
        path = folder / name
        if not path.is_file():
            raise DatasetError(f"{path}: missing; delete {folder} and prepare again")
        if [path.stat().st_size, _sha256(path)] != recorded:
            raise DatasetError(f"{path}: damaged: not the bytes that were written; delete {folder} and prepare again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
