"""An instance that has come, and the files of a series."""

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from flare_infer.dicom.headers import read_header
from flare_infer.errors import ImageError


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """An instance that has come whole.

    Attributes:
        path: its file; on the disk of the collected series.
        title: AE title of the sender.
        series: SeriesInstanceUID.
        instance: SOPInstanceUID.
        association: what it came by; the same object for all that came by it.
    """

    path: Path
    title: str
    series: str
    instance: str
    association: object

    @property
    def file_name(self) -> str:
        """Name of its file in its series: the same if it comes again, and nothing that a sender chooses."""
        return f"{hashlib.sha256(self.instance.encode()).hexdigest()[:32]}.dcm"


def is_uid(text: str) -> bool:
    """Whether a text can be a UID; the zeros that some scanners write where none may be are let pass."""
    return re.fullmatch(r"[0-9.]{1,64}", text) is not None


def files_in(folder: Path) -> list[Path]:
    """The files of a folder; none if it is not there."""
    return list(folder.iterdir()) if folder.is_dir() else []


def holds_slices(path: Path) -> bool:
    """Whether a file holds slices of a CT; a localizer does not."""
    try:
        return not read_header(path).left_out
    except ImageError:
        return False


def link_or_copy(source: Path, place: Path) -> None:
    """Give a file a second name; make a copy where the mount knows no hard links.

    Raises:
        OSError: if neither can be had.
    """
    try:
        os.link(source, place)
    except OSError:
        shutil.copyfile(source, place)
