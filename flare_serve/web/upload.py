"""An upload on its way to the disk: bounded in size, number and time, and gone if it does not end well."""

import asyncio
import errno
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from starlette.requests import Request

from flare_infer.dicom.find import LARGEST
from flare_infer.dicom.unzip import MOST_FILES
from flare_infer.errors import ImageError
from flare_infer.formats.foreign import is_dicom
from flare_serve.errors import SpoolFullError
from flare_serve.jobs.content import BEGIN_BYTES, EXPECTED, ending_of, ending_of_file
from flare_serve.jobs.job import Job
from flare_serve.jobs.settings import MIB
from flare_serve.jobs.spool import remove
from flare_serve.jobs.store import JobStore
from flare_serve.web.form import FormReader, Piece
from flare_serve.web.refusal import RefusedError
from flare_serve.web.service import Service, UploadTimes

_BLOCK_BYTES: Final = MIB
_LOOK_BYTES: Final = 64 * MIB
"""After so many bytes it is looked how much room is left."""

_MOST_TEXT_BYTES: Final = 1024
_DRAINED_BYTES: Final = 64 * MIB
_DRAINED_SECONDS: Final = 5.0
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

FILE: Final = "file"
TEXTS: Final = ("name", "series")
SERIES: Final = rf"{LARGEST}|[0-9.]{{1,64}}"
"""What the series may be: a word, or the form of every UID."""


@dataclass
class _Files:
    """The files of an upload, in a folder of their own, under numbers.

    Attributes:
        store: whose spool takes them.
        folder: the folder.
        names: what the sender calls them.
    """

    store: JobStore
    folder: Path
    names: list[str] = field(default_factory=list)
    _file: IO[bytes] | None = None
    _bytes: int = 0
    _looked: int = 0

    def begin(self, name: str) -> None:
        """Begin a file."""
        self.close()
        if len(self.names) >= MOST_FILES:
            raise RefusedError(413, f"more than {MOST_FILES} files; send a zip archive")
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._file = self.path(len(self.names)).open("xb")
        self.names.append(name)

    def path(self, number: int) -> Path:
        """The place of a file."""
        return self.folder / f"{number:05}.dcm"

    def write(self, data: bytes) -> None:
        """Add bytes to the file that was begun last."""
        self._bytes += len(data)
        most = self.store.limits.upload_bytes
        if self._bytes > most:
            raise RefusedError(413, f"the upload is larger than {most // MIB} MiB")
        if self._bytes - self._looked > _LOOK_BYTES:
            self._looked = self._bytes
            self.store.spool.refuse_if_full(self.store.limits.free_bytes)
        if self._file is not None:
            self._file.write(data)

    def close(self) -> None:
        """Finish the file that was begun last."""
        if self._file is not None:
            self._file.close()
            self._file = None


async def receive_job(request: Request, service: Service, name: str, series: str) -> Job:
    """Make a job of the body of a request: one file, or a form with one file or the files of a DICOM series.

    Args:
        request: the request.
        service: what takes it.
        name: what the sender calls the scan; empty if a form says it.
        series: which series of DICOM; empty for the largest.

    Raises:
        RefusedError, QueueFullError, SpoolFullError, ImageError: if there is no job of it; nothing is left of it then.
    """
    store = service.store
    files = _Files(store, store.incoming())
    texts = {"name": name, "series": series}
    with service.uploads.one():
        try:
            _check_headers(request, store)
            await asyncio.to_thread(store.check_room, int(request.headers.get("content-length", "0")))
            await _receive(request, service.upload_times, files, texts)
            return await asyncio.to_thread(_submitted, store, files, texts)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise SpoolFullError("the disk of the service is full; come again when jobs were removed") from error
        finally:
            files.close()
            await asyncio.shield(asyncio.to_thread(remove, files.folder))


async def drain(request: Request) -> None:
    """Read what a client is still sending, within bounds: one that is sending does not look for an answer."""
    left = _DRAINED_BYTES
    try:
        async with asyncio.timeout(_DRAINED_SECONDS):
            async for data in request.stream():
                left -= len(data)
                if left < 0:
                    return
    except (TimeoutError, RuntimeError):
        return  # the body was read already, or takes too long


def _check_headers(request: Request, store: JobStore) -> None:
    length = request.headers.get("content-length", "0")
    if not length.isdigit():
        raise RefusedError(400, "the content length is no number")
    if int(length) > store.limits.upload_bytes:
        raise RefusedError(413, f"the upload is larger than {store.limits.upload_bytes // MIB} MiB")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(415, "an encoded body is not read; send the file as it is")


async def _receive(request: Request, times: UploadTimes, files: _Files, texts: dict[str, str]) -> None:
    content_type = request.headers.get("content-type", "")
    blocks = _blocks(request, times)
    if content_type.lower().startswith("multipart/form-data"):
        await _receive_form(FormReader(content_type), blocks, files, texts)
        return
    if content_type.lower().startswith("application/x-www-form-urlencoded"):
        raise RefusedError(415, f"a form without a file; send {EXPECTED}")
    async for number, block in _numbered(blocks):
        if number == 0:
            ending_of(block[:BEGIN_BYTES])
            await asyncio.to_thread(files.begin, texts["name"])
        await asyncio.to_thread(files.write, block)


async def _receive_form(form: FormReader, blocks: AsyncIterator[bytes], files: _Files, texts: dict[str, str]) -> None:
    async for block in blocks:
        pieces = list(form.pieces(block))
        await asyncio.to_thread(_take_all, pieces, files, texts)
    if not form.ended:
        raise RefusedError(400, "the form ends before its end; send it again")


def _take_all(pieces: Iterable[Piece], files: _Files, texts: dict[str, str]) -> None:
    for piece in pieces:
        _take(piece, files, texts)


def _take(piece: Piece, files: _Files, texts: dict[str, str]) -> None:
    if piece.field == FILE and piece.file_name is not None:
        if piece.begins:
            files.begin(piece.file_name)
        files.write(piece.data)
    elif piece.field in TEXTS and piece.file_name is None:
        texts[piece.field] = "" if piece.begins else texts[piece.field] + piece.data.decode(errors="replace")
        if len(texts[piece.field]) > _MOST_TEXT_BYTES:
            raise RefusedError(400, f"the field {piece.field} is too long")
    else:
        raise RefusedError(
            400, f"the form has an unknown field; it may have {FILE} (files), {' and '.join(TEXTS)} (texts)"
        )


async def _blocks(request: Request, times: UploadTimes) -> AsyncIterator[bytes]:
    """The body in blocks of moderate size.

    Raises:
        RefusedError: if it takes too long.
    """
    held = bytearray()
    stream = aiter(request.stream())
    ends = time.monotonic() + times.seconds
    while True:
        try:
            async with asyncio.timeout(min(times.idle_seconds, max(0.0, ends - time.monotonic()))):
                held += await anext(stream)
        except StopAsyncIteration:
            break
        except TimeoutError as error:
            raise RefusedError(408, "the upload takes too long; send it again") from error
        if len(held) >= _BLOCK_BYTES:
            yield bytes(held)
            held.clear()
    yield bytes(held)


async def _numbered(blocks: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    number = 0
    async for block in blocks:
        if block or number == 0:
            yield number, block
            number += 1


def _submitted(store: JobStore, files: _Files, texts: dict[str, str]) -> Job:
    """Make a job of the files that have arrived.

    Raises:
        ImageError: if they are nothing that can be segmented.
    """
    files.close()
    if not files.names:
        raise RefusedError(400, f"the form has no file; send {EXPECTED} in the field {FILE}")
    series = texts["series"] or LARGEST
    if not re.fullmatch(SERIES, series):
        raise RefusedError(400, f"series: expected {LARGEST} or a SeriesInstanceUID")
    submit: Callable[[Path, str], Job] = lambda upload, name: store.submit(  # noqa: E731
        upload, name=texts["name"] or name, origin="http", series=series
    )
    if len(files.names) == 1:
        ending_of_file(files.path(0))
        return submit(files.path(0), files.names[0])
    slices = 0
    for number in range(len(files.names)):
        if is_dicom(files.path(number)):
            slices += 1
        else:
            remove(files.path(number))  # what lies beside slices, such as a viewer
    if not slices:
        raise ImageError("none of the files is DICOM; send other scans one by one")
    return submit(files.folder, f"DICOM, {slices} files")
