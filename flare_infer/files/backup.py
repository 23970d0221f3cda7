"""A file makes room without being lost."""

from pathlib import Path
from typing import Final

OLD_SUFFIX: Final = ".old"
"""What is added to its name; no program takes such a file for an image."""


def keep_old(path: Path) -> Path:
    """Keep a file's content under another name beside it, NAME.old, or NAME.old-2 if there is one already.

    The file itself stays, for something whole to take its place in one step; only where the file system knows no second
    name for a file, it is renamed.

    Returns:
        the other name.

    Raises:
        OSError: if that cannot be done.
    """
    number = 1
    while True:
        old = path.with_name(f"{path.name}{OLD_SUFFIX}{f'-{number}' if number > 1 else ''}")
        try:
            old.hardlink_to(path)
        except FileExistsError:
            if old.samefile(path):  # a run that was killed right here did it before
                return old
            number += 1
        except OSError:
            return path.rename(old)
        else:
            return old
