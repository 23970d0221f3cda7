"""The sizes of the parts of an image: run inside it, `python3 - < image_size.py`; prints bytes as JSON.

Nothing but the standard library is needed. Every file counts once with its length, as a layer stores it.
"""

import json
import os
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NOT_OF_THE_IMAGE: Final = ("/proc", "/sys", "/dev", "/run", "/tmp")
"""Folders that the engine fills when it runs an image."""

PACKAGES: Final = Path(sysconfig.get_paths()["purelib"])
WORKSPACE: Final = Path("/workspace")
BASE_PYTHON: Final = Path(sysconfig.get_paths()["stdlib"])


def group_of(path: Path) -> str:
    """The line of the table that a file counts in."""
    if path.is_relative_to(PACKAGES):
        if "__pycache__" in path.parts:
            return "packages, compiled"
        name = path.relative_to(PACKAGES).parts[0]
        return name.removesuffix(".libs").partition("-")[0]
    if path.is_relative_to(WORKSPACE / "weights"):
        return "weights"
    if path.is_relative_to(WORKSPACE):
        return "the program"
    if path.is_relative_to(BASE_PYTHON):
        return "base: Python's library"
    return "base: everything else"


def files() -> Iterator[tuple[Path, os.stat_result]]:
    """Every file of the image."""
    for folder, names, members in os.walk("/"):
        names[:] = [name for name in names if os.path.join(folder, name) not in NOT_OF_THE_IMAGE]
        for member in members:
            path = Path(folder, member)
            yield path, path.lstat()


def main() -> None:
    """Print the sizes."""
    sizes: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()
    for path, status in files():
        inode = (status.st_dev, status.st_ino)
        if inode not in seen:
            seen.add(inode)
            sizes[group_of(path)] += status.st_size
    print(json.dumps(sizes))


if __name__ == "__main__":
    main()
