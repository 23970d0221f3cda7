"""Files that are no image this project reads, called by their name: DICOM, archives, pairs of files."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

DICOM: Final = "DICOM; name it .dcm, and flare-infer predict reads it with its series"
_ARCHIVE: Final = "an archive; unpack it first"
_DETACHED: Final = "a header or voxels in files of their own; convert them to .nii.gz"

_ENDINGS: Final = {
    **dict.fromkeys((".dcm", ".dicom", ".ima", "dicomdir"), "named like DICOM, but holds none"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar", ".tar.xz", ".tar.bz2"), _ARCHIVE),
    **dict.fromkeys((".mhd", ".nhdr", ".hdr", ".img", ".raw"), _DETACHED),
}
_DICOM_AT: Final = 128
BEGIN_BYTES: Final = _DICOM_AT + 4
"""What of a file has to be looked at."""

_FIRST_ELEMENTS: Final = (
    *(b"\2\0\0\0UL", b"\x08\0\0\0UL", b"\x08\0\0\0\4\0\0\0"),
    *(b"\x08\0\5\0", b"\x08\0\x08\0", b"\x08\0\x16\0"),
)
"""How DICOM begins that has lost its first 132 bytes, as old programs write it."""

_MOST_FILES: Final = 64
"""Number of files of a folder that are looked at: in a folder of DICOM the first would do."""


def begins_like_dicom(begin: bytes) -> bool:
    """Whether the first bytes of a file are those of DICOM."""
    return begin[_DICOM_AT:BEGIN_BYTES] == b"DICM" or begin.startswith(_FIRST_ELEMENTS)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its content; nothing else than a regular file is."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb", buffering=0) as file:
            return begins_like_dicom(file.read(BEGIN_BYTES))
    except OSError:
        return False


def named(begin: bytes) -> str | None:
    """What a file is by its first 132 bytes; None if they do not say."""
    if begins_like_dicom(begin):
        return DICOM
    return _ARCHIVE if begin.startswith((b"PK\3\4", b"7z\xbc\xaf\x27\x1c", b"Rar!")) else None


def foreign_file(path: Path) -> str | None:
    """What a file is, by name or content; None if neither says."""
    if is_dicom(path):
        return DICOM
    for ending, what in _ENDINGS.items():
        if path.name.lower().endswith(ending):
            return what
    try:
        with path.open("rb") as file:
            return named(file.read(BEGIN_BYTES))
    except OSError:
        return None


def foreign_folder(folder: Path) -> str | None:
    """What the first such file of a folder, or of the folders in it, is, and its name; None if there is none."""
    for path in islice(_files(folder), _MOST_FILES):
        if (what := foreign_file(path)) is not None:
            return f"{path.relative_to(folder)} is {what}"
    return None


def _files(folder: Path) -> Iterator[Path]:
    for place, inside, names in os.walk(folder):
        inside.sort()
        for name in sorted(names):
            path = Path(place, name)
            if name[0] != "." and path.is_file():  # a pipe would be waited for
                yield path
