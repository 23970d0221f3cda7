"""Folders in a store of objects (`s3://`, `gs://`, anything of fsspec): listed, fetched from, put to whole.

A store of objects shows an object under its name only when it is complete. Other file systems of fsspec get a hidden
name first, and rename. `file://` is an ordinary folder (`as_path`).
"""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

_IN_BUCKETS: Final = _WHOLE_AT_ONCE - {"memory"}
"""Protocols of which the first folder is a bucket, without which nothing can be put."""

_ONE_SLASH: Final = re.compile(r"(s3a?|gs|gcs|az|abfss?|file|https?):(?!//)", re.IGNORECASE)
"""What most likely was to be a URL."""

_ERRORS_OF_LIBRARIES: Final = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("azure.core.exceptions", "AzureError"),
)
"""Modules and names of what libraries below fsspec raise that is no OSError."""


def as_path(text: str) -> Path | None:
    """The path that a text names, of `file://` too; None if it is another URL.

    Raises:
        UsageError: if it looks like a URL that lacks a slash.
    """
    if meant := _ONE_SLASH.match(text):
        scheme, rest = meant[1], text[meant.end() :].lstrip("/")
        root = "/" if scheme.lower() == "file" else ""
        raise UsageError(f"{text}: was {scheme}://{root}{rest} meant? if it is a folder of that name, write ./{text}")
    if not _URL.match(text):
        return Path(text)
    protocol, _, rest = text.partition("://")
    if protocol.lower() not in {"file", "local"}:
        return None
    return Path("/" + unquote(rest.removeprefix("localhost").lstrip("/")))


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Within, what libraries below fsspec raise becomes OSError, as most of what fsspec itself raises is."""
    try:
        yield
    except _errors_of_libraries() as error:
        raise OSError(str(error) or type(error).__name__) from error


def _errors_of_libraries() -> tuple[type[Exception], ...]:
    """Those of the libraries that are in use."""
    return tuple(getattr(sys.modules[module], name) for module, name in _ERRORS_OF_LIBRARIES if module in sys.modules)


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

            with _as_os_errors():
                system, root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise MissingExtraError(f'{self.url}: {error}; pip install "flare-infer[cloud]"') from error
        except ValueError as error:
            raise UsageError(f"{self.url}: {error}") from error
        return system, root.rstrip("/")

    def files(self) -> dict[str, int]:
        """Names of the files directly in it, in order, each with its length in bytes.

        Raises:
            UsageError: if it cannot be listed, or its bucket is not there.
        """
        try:
            found = self._listed()
        except OSError as error:
            raise UsageError(
                f"{self.url}: cannot be reached ({error}); is it the right one, and may you read it?"
            ) from error
        names = {entry["name"].rpartition("/")[2]: entry for entry in found if entry["type"] == "file"}
        return {name: int(names[name].get("size") or 0) for name in sorted(names) if name}

    @_as_os_errors()
    def _listed(self) -> list[dict[str, Any]]:
        """What is in it, as its file system says it; nothing if it is not there.

        Raises:
            FileNotFoundError: if its bucket is not there.
        """
        system, root = self._system
        system.invalidate_cache()
        try:
            found: list[dict[str, Any]] = system.ls(root, detail=True)
        except FileNotFoundError:
            bucket = root.partition("/")[0]
            if self._protocols() & _IN_BUCKETS and not system.exists(bucket):
                raise FileNotFoundError(f"there is no bucket {bucket}") from None
            return []
        return found

    def _protocols(self) -> set[str]:
        """The names of its protocol."""
        protocol = self._system[0].protocol
        return {protocol} if isinstance(protocol, str) else set(protocol)

    def scans(self) -> dict[str, int]:
        """Names and lengths of its image files; hidden ones are none."""
        return {
            name: size
            for name, size in self.files().items()
            if name[0] != "." and name.lower().endswith(IMAGE_SUFFIXES)
        }

    @_as_os_errors()
    def stamp(self, name: str) -> tuple[str, ...]:
        """What changes when a file is replaced; empty if it is not there."""
        system, root = self._system
        try:
            system.invalidate_cache(root)
            found = system.info(f"{root}/{name}")
        except FileNotFoundError:
            return ()
        return tuple(str(found.get(key, "")) for key in ("size", "ETag", "etag", "LastModified", "mtime", "created"))

    @_as_os_errors()
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

    @_as_os_errors()
    def put(self, file: Path, name: str) -> None:
        """Put a local file to its place, whole or not at all."""
        system, root = self._system
        target = f"{root}/{name}"
        if self._protocols() & _WHOLE_AT_ONCE:
            system.put_file(str(file), target)
            return
        folder, _, last = target.rpartition("/")
        system.makedirs(folder, exist_ok=True)
        part = f"{folder}/{PART_PREFIX}{last}"
        system.put_file(str(file), part)
        system.mv(part, target)

    @_as_os_errors()
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
