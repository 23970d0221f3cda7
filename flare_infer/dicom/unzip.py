"""The DICOM files of a zip archive, unpacked under names of our own, within bounds."""

import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from flare_infer.errors import UsageError
from flare_infer.formats.foreign import BEGIN_BYTES, begins_like_dicom

MOST_FILES: Final = 10_000
"""Of an archive: entries that are looked at. A study of CT has some thousands."""

MOST_BYTES: Final = 16 * 2**30
_SMALL_BYTES: Final = 64 * 2**20
_MOST_INFLATION: Final = 100
"""Up to here an archive may always grow; beyond that, no CT shrinks by this."""

_CHUNK_BYTES: Final = 2**20


@contextmanager
def scratch_for(inputs: Path) -> Iterator[Path | None]:
    """A temporary folder, if inputs are a zip archive by their name; else None.

    Raises:
        UsageError: if there is no place for one.
    """
    if inputs.suffix.lower() != ".zip":
        yield None
        return
    try:
        made = tempfile.TemporaryDirectory()
    except OSError as error:
        raise UsageError(
            f"{inputs}: no folder takes what is unpacked ({error.strerror}); name one as TMPDIR"
        ) from error
    with made as folder:
        yield Path(folder)


def unpack(archive: Path, folder: Path) -> list[Path]:
    """Write the DICOM files of an archive into a folder, named by numbers: nothing an archive says becomes a path.

    Other files, links and folders in it are passed over.

    Args:
        archive: the zip file.
        folder: an existing, empty folder.

    Raises:
        UsageError: if it is damaged, encrypted, holds too many files, or grows beyond all measure.
    """
    bound = max(_SMALL_BYTES, min(MOST_BYTES, archive.stat().st_size * _MOST_INFLATION))
    made: list[Path] = []
    try:
        with zipfile.ZipFile(archive) as packed:
            entries = [entry for entry in packed.infolist() if not entry.is_dir()]
            if len(entries) > MOST_FILES:
                raise UsageError(f"{archive}: holds {len(entries)} files, more than {MOST_FILES}; unpack it first")
            for entry in entries:
                with packed.open(entry) as stream:
                    begin = stream.read(BEGIN_BYTES)
                    if not begins_like_dicom(begin):
                        continue
                    made.append(folder / f"{len(made):05}.dcm")
                    with made[-1].open("wb") as file:
                        file.write(begin)
                        bound -= len(begin)
                        while chunk := stream.read(_CHUNK_BYTES):
                            bound -= len(chunk)
                            if bound < 0:
                                raise UsageError(
                                    f"{archive}: grows beyond all measure when it is unpacked; is it a zip bomb?"
                                )
                            file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise UsageError(f"{archive}: cannot be unpacked ({error}); unpack it yourself, and name the folder") from error
    except OSError as error:
        raise UsageError(
            f"{archive}: cannot be unpacked ({error.strerror or error}); is there room for temporary files?"
        ) from error
    return made
