"""What not every mount can do: syncing to the disk itself, and links."""

import errno
import os
import shutil
from pathlib import Path
from typing import Final

_CANNOT: Final = (
    *(errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS),
    *(errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY),
)
"""How file systems say that they know no syncing; anything else (a full disk, a failing one) loses data."""


def to_disk(handle: int) -> None:
    """Wait until what was written to an open file is on the disk itself, where the mount can say so.

    Some (CIFS, FUSE over object stores) refuse, and would then lose a file only with the power, not with the program.

    Raises:
        OSError: if the disk failed or is full.
    """
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


def link_or_copy(source: Path, place: Path) -> None:
    """Make a new symbolic link to a file; a copy of its bytes where the mount knows no links.

    Mode bits and times are not copied: such mounts refuse those, too.

    Raises:
        OSError: if neither can be made, or something of that name is there.
    """
    try:
        place.symlink_to(source.resolve())
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, place)
