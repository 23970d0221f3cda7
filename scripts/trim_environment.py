"""Remove from an environment of the image what a run never reads: tests, headers, static libraries.

Usage: python3 trim_environment.py ENVIRONMENT

Python modules of a package stay, its tests excepted, and no library is changed: what is left is what its makers built.
The image is built only if it still segments a CT afterwards. Nothing but the standard library is needed.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TORCH: Final = {
    "test": "programs that test PyTorch",
    "include": "headers for compiling extensions",
    "share": "CMake files for compiling extensions",
    "bin": "test programs and protoc",
}
"""Folders of torch that a run never reads, with what they hold."""

TORCH_KEPT: Final = "torch_shm_manager"
"""The one program in torch/bin that PyTorch starts itself, for tensors shared among processes."""

TESTED: Final = ("scipy", "sympy", "networkx", "mpmath")
"""Packages with folders named `tests` that no other module imports; checked in the pinned versions."""

NEVER_READ: Final = {
    "PIL/_avif.*": "Pillow's pictures of the format AVIF; without it, Pillow says that it cannot read them",
    "pillow.libs/libavif-*": "the library of AVIF, which nothing else is linked with",
    "pydicom/data/test_files": "files that pydicom is tested with",
}
"""Patterns of files and folders that a run never reads, with what they are."""

WORTH_A_LINE_BYTES: Final = 1_000_000
"""Smaller files and folders are removed without a printed line."""


def main(environment: Path) -> None:
    """Remove the files, and print their sizes."""
    total_bytes = 0
    for path in dict.fromkeys(unneeded(site_packages(environment))):
        size_bytes = bytes_below(path)
        total_bytes += size_bytes
        if size_bytes >= WORTH_A_LINE_BYTES:
            print(f"{size_bytes / 1e6:8.1f} MB  {path.relative_to(environment)}")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    print(f"{total_bytes / 1e6:8.1f} MB  removed")


def site_packages(environment: Path) -> Path:
    """Where the packages of a virtual environment lie."""
    return next((environment / "lib").glob("python3*/site-packages"))


def unneeded(packages: Path) -> Iterator[Path]:
    """Files and folders to remove, none inside another."""
    for name in TORCH:
        folder = packages / "torch" / name
        if folder.is_dir():
            yield from (path for path in sorted(folder.iterdir()) if path.name != TORCH_KEPT)
    yield from sorted((packages / "torch" / "lib").glob("*.a"))
    for name in TESTED:
        yield from sorted(outermost((packages / name).rglob("tests")))
    for pattern in NEVER_READ:
        yield from sorted(packages.glob(pattern))


def outermost(folders: Iterator[Path]) -> list[Path]:
    """Those of the folders that lie in none of the others."""
    found = {path for path in folders if path.is_dir()}
    return [path for path in found if not found.intersection(path.parents)]


def bytes_below(path: Path) -> int:
    """Size of a file, or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
