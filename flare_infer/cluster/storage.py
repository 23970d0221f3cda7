"""Folders in a store of objects (`s3://`, `gs://`, anything of fsspec): listed, fetched from, put to whole.

A store of objects shows an object under its name only when it is complete. Other file systems of fsspec get a hidden
name first, and rename. `file://` is an ordinary folder (`as_path`).
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote

from flare_infer.errors import MissingExtraError, UsageError
from flare_infer.files.write_whole import PART_PREFIX
from flare_infer.formats.volume_io import IMAGE_SUFFIXES

_URL: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_WHOLE_AT_ONCE: Final = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "memory"}
"""Protocols whose objects appear under their name only when they are complete."""


def as_path(text: str) -> Path | None:
    """The path that a text names, of `file://` too; None if it is another URL."""
    if not _URL.match(text):
        return Path(text)
    protocol, _, rest = text.partition("://")
    if protocol.lower() not in {"file", "local"}:
        return None
    return Path("/" + unquote(rest.removeprefix("localhost").lstrip("/")))


class RemoteFolder:
    """A folder that fsspec knows; what it cannot do raises OSError.

    Args:
        url: its URL, without keys or passwords, which libraries take from the environment.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    @cached_property
    def _system(self) -> tuple[Any, str]:
        """The file system, and the folder in its own notation.

        Raises:
            MissingExtraError: if the library for the protocol is not installed.
            UsageError: if there is no such protocol, or it is not set up.
        """
        try:
            import fsspec

            system, root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise MissingExtraError(f'{self.url}: {error}; pip install "flare-infer[cloud]"') from error
        except ValueError as error:
            raise UsageError(f"{self.url}: {error}") from error
        return system, root.rstrip("/")

    def files(self) -> dict[str, int]:
        """Names of the files directly in it, in order, each with its length in bytes.

        Raises:
            UsageError: if it cannot be listed.
        """
        system, root = self._system
        try:
            system.invalidate_cache()
            found = system.ls(root, detail=True)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UsageError(
                f"{self.url}: cannot be listed ({error}); is it the right one, and may you read it?"
            ) from error
        names = {entry["name"].rpartition("/")[2]: entry for entry in found if entry["type"] == "file"}
        return {name: int(names[name].get("size") or 0) for name in sorted(names) if name}

    def scans(self) -> dict[str, int]:
        """Names and lengths of its image files; hidden ones are none."""
        return {
            name: size
            for name, size in self.files().items()
            if name[0] != "." and name.lower().endswith(IMAGE_SUFFIXES)
        }

    def stamp(self, name: str) -> tuple[str, ...]:
        """What changes when a file is replaced; empty if it is not there."""
        system, root = self._system
        try:
            system.invalidate_cache(root)
            found = system.info(f"{root}/{name}")
        except FileNotFoundError:
            return ()
        return tuple(str(found.get(key, "")) for key in ("size", "ETag", "etag", "LastModified", "mtime", "created"))

    def fetch(self, name: str, folder: Path) -> bool:
        """Fetch a file, or a folder with all that is in it, to a local folder; False if it is not there."""
        system, root = self._system
        system.invalidate_cache(root)
        source = f"{root}/{name}"
        if not system.exists(source):
            return False
        if system.isfile(source):
            system.get_file(source, str(folder / name))
        else:
            system.get(source, str(folder / name), recursive=True)
        return True

    def put(self, file: Path, name: str) -> None:
        """Put a local file to its place, whole or not at all."""
        system, root = self._system
        target = f"{root}/{name}"
        protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
        if protocols & _WHOLE_AT_ONCE:
            system.put_file(str(file), target)
            return
        folder, _, last = target.rpartition("/")
        system.makedirs(folder, exist_ok=True)
        part = f"{folder}/{PART_PREFIX}{last}"
        system.put_file(str(file), part)
        system.mv(part, target)

    def remove(self, name: str) -> None:
        """Remove a file."""
        system, root = self._system
        system.rm_file(f"{root}/{name}")


def files_below(folder: Path) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Every file of a local folder by its path from there, with what changes when it is replaced."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith(PART_PREFIX):
            found = path.stat()
            yield path.relative_to(folder).as_posix(), (found.st_size, found.st_mtime_ns, found.st_ino)


def put_changes(
    remote: RemoteFolder, folder: Path, before: Mapping[str, tuple[int, int, int]], first: str = ""
) -> dict[str, tuple[int, int, int]]:
    """Put what has changed in a local folder to a remote one, and remove what is gone.

    Args:
        remote: the remote folder.
        folder: the local one, which holds what was fetched of it.
        before: what was there (`files_below`).
        first: the file that is put before all others.

    Returns:
        what is there now.
    """
    after = dict(files_below(folder))
    for name in sorted(after, key=lambda name: (name != first, name)):
        if after[name] != before.get(name):
            remote.put(folder / PurePosixPath(name), name)
    for name in before.keys() - after.keys():
        remote.remove(name)
    return after
