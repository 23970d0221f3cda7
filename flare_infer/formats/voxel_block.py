"""A block of voxels inside a file, plain or compressed, read straight into the array it becomes."""

import gzip
import io
import math
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib

from flare_infer.errors import ImageError

Packing: TypeAlias = Literal["raw", "gzip", "gzip from the start", "zlib"]
"""How a block is stored; "gzip from the start" means that the whole file is compressed, header included."""

_MOST_INFLATION: Final = 1032
"""Deflate cannot shrink anything more than by this."""

LONGEST_TEXT: Final = 16 * 2**20
"""Of a header that is text: those of a scan may hold all its DICOM tags, and be longer than 64 KiB; not than this."""

_CHUNK_BYTES: Final = 256 * 1024
_AGAIN: Final = "copy it again from where it came from"

# The types isal does not give.
gzip_reader: Callable[..., io.BufferedIOBase] = igzip.IGzipFile
_IsalError: Any = isal_zlib.IsalError


@dataclass(frozen=True, kw_only=True)
class VoxelBlock:
    """Where the voxels of a volume lie in its file.

    Attributes:
        offset: offset of their first byte, in bytes; in the inflated file where all of it is compressed.
        lengths: voxels along (x, y, z), the first axis the fastest.
        dtype: type of the stored values, in the stored byte order.
        packing: compression of the voxels.
    """

    offset: int
    lengths: tuple[int, int, int]
    dtype: np.dtype[Any]
    packing: Packing

    @property
    def voxel_bytes(self) -> int:
        """Size of the voxels before compression."""
        return math.prod(self.lengths) * self.dtype.itemsize

    @property
    def promised_bytes(self) -> int:
        """Size up to the last voxel of a file that is whole, before compression."""
        return self.offset + self.voxel_bytes


def text_lines(path: Path) -> Iterator[bytes]:
    """The lines of the text that a file begins with, line breaks included.

    Raises:
        ImageError: if the file cannot be read, or more than `LONGEST_TEXT` is asked for.
    """
    with errors_of(path), path.open("rb") as file:
        left = LONGEST_TEXT
        while line := file.readline(left):
            left -= len(line)
            if not left:
                raise ImageError(
                    f"{path}: not a readable image: a header of more than {LONGEST_TEXT // 2**20} MiB; convert it "
                    "without its tags"
                )
            yield line


def check_length(path: Path, block: VoxelBlock) -> None:
    """Make sure that a file can hold what its header promises, before memory is taken for it.

    Raises:
        ImageError: if it is too short, or its compressed data is damaged.
    """
    with errors_of(path):
        promised, found = _promised_and_found(path, block)
    if found < promised:
        size = " x ".join(map(str, block.lengths))
        at_most = "at most " if block.packing in {"gzip", "zlib"} else ""
        raise ImageError(
            f"{path}: the file is cut short: expected {promised} bytes ({size} voxels by its header), found "
            f"{at_most}{max(found, 0)}; {_AGAIN}"
        )


def _promised_and_found(path: Path, block: VoxelBlock) -> tuple[int, int]:
    """Bytes that a file must hold before compression, and that it does; at most, where the number costs much."""
    promised, stored = block.promised_bytes, path.stat().st_size
    if block.packing == "raw":
        return promised, stored
    if block.packing != "gzip from the start":
        return block.voxel_bytes, (stored - block.offset) * _MOST_INFLATION
    # A gzip file ends with its length before compression, modulo 4 GiB. If that is another than expected, it may
    # consist of several parts, or be no whole file: what it holds is counted.
    if promised > stored * _MOST_INFLATION or _length_noted(path) != promised % 2**32:
        return promised, _count(path)
    return promised, promised


def read_block(path: Path, block: VoxelBlock) -> npt.NDArray[Any]:
    """The voxels of a file, in the stored type and the machine's byte order.

    Args:
        path: the file.
        block: place and type of the voxels in the file; call `check_length` first.

    Returns:
        array (z, y, x), filled in place: nothing of its size exists besides. Values that are not numbers are kept.

    Raises:
        ImageError: if the file ends before the block does, its compressed data is damaged, or the array does not fit
            into memory.
    """
    with errors_of(path):
        array_zyx = np.empty(block.lengths[::-1], block.dtype)
        out = array_zyx.reshape(-1).view(np.uint8).data
        with path.open("rb") as file:
            done = _inflate_zlib(file, block, out) if block.packing == "zlib" else _read(file, block, out)
        if done < len(out):
            raise EOFError(f"{len(out)} bytes of voxels expected, {done} found")
    if not block.dtype.isnative:
        array_zyx = array_zyx.byteswap(inplace=True).view(block.dtype.newbyteorder("="))
    return array_zyx


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """What can go wrong with the file of that name, as our errors."""
    try:
        yield
    except EOFError as error:
        raise ImageError(f"{path}: the file is cut short ({error}); {_AGAIN}") from error
    except (gzip.BadGzipFile, _IsalError, zlib.error) as error:
        raise ImageError(f"{path}: the compressed data is damaged ({error}); {_AGAIN}") from error
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be read ({error.strerror or error}); look after its permissions and its disk"
        ) from error
    except MemoryError as error:
        raise ImageError(f"{path}: does not fit into memory ({error}); use a machine with more of it") from error


def _read(file: BinaryIO, block: VoxelBlock, out: memoryview) -> int:
    """Fill `out` as far as the file goes; returns how far."""
    stream: Any = file
    if block.packing == "gzip":
        file.seek(block.offset)
        stream = gzip_reader(fileobj=file, mode="rb")
    elif block.packing == "gzip from the start":
        stream = gzip_reader(fileobj=file, mode="rb")
        stream.seek(block.offset)
    else:
        file.seek(block.offset)
    done = 0
    while done < len(out) and (count := stream.readinto(out[done : done + _CHUNK_BYTES])):
        done += count
    # What follows has no meaning, but the checksum of compressed data stands at its very end.
    while block.packing != "raw" and stream.read(_CHUNK_BYTES):
        pass
    return done


def _inflate_zlib(file: BinaryIO, block: VoxelBlock, out: memoryview) -> int:
    """The same for a zlib stream, which has no file object of its own."""
    file.seek(block.offset)
    inflate = isal_zlib.decompressobj()
    done = 0
    while not inflate.eof and (packed := file.read(_CHUNK_BYTES)):
        chunk = inflate.decompress(packed)
        taken = min(len(chunk), len(out) - done)
        out[done : done + taken] = chunk[:taken]
        done += taken
    if not inflate.eof:
        raise EOFError("the compressed data has no end")
    return done


def _length_noted(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        return int.from_bytes(file.read(), "little")


def _count(path: Path) -> int:
    """Bytes that a gzipped file holds; none is kept."""
    total = 0
    with path.open("rb") as file, gzip_reader(fileobj=file, mode="rb") as stream:
        while count := len(stream.read(_CHUNK_BYTES)):
            total += count
    return total
