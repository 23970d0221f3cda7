"""The voxels of a NIfTI-1 file without a detour: inflated straight into the array, deflated straight into the file.

Only the block of voxels is read here; where it lies in the patient is ITK's to say. What is stored in any unusual way
(scaled, complex, in colors, as a pair of files, as NIfTI-2) is known as such and left to ITK, too.
"""

import gzip
import io
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib

from flare_infer.errors import ImageError

_Order: TypeAlias = Literal["<", ">"]

HEADER_BYTES: Final = 348
VOXEL_OFFSET: Final = 352
"""Where voxels begin in a file without extensions: after the header and four bytes that say so."""

LONGEST_AXIS: Final = 32767
"""NIfTI-1 counts voxels in signed 16-bit integers."""

_TYPES: Final = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}
"""NumPy's names of the data types with one real number a voxel, by NIfTI's codes."""

_BYTE_ORDERS: Final[dict[bytes, _Order]] = {
    HEADER_BYTES.to_bytes(4, "little"): "<",
    HEADER_BYTES.to_bytes(4, "big"): ">",
}
"""By the first four bytes of a file, which hold the length of the header."""

_SINGLE_FILE: Final = b"n+1\0"
_GZIP: Final = b"\x1f\x8b"
_MOST_INFLATION: Final = 1032
"""Deflate cannot shrink anything more than by this."""

_LEVEL: Final = 1
"""Of ISA-L: 554 planes of 512 x 512 labels in 12 ms, and only level 0, in three times the bytes, is quicker."""

_CHUNK_BYTES: Final = 256 * 1024

# The types isal does not give.
_gzip_reader: Callable[..., io.BufferedIOBase] = igzip.open
_gzip_writer: Callable[..., io.BufferedIOBase] = igzip.IGzipFile
_IsalError: Any = isal_zlib.IsalError


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a NIfTI-1 header says about the block of voxels.

    Attributes:
        raw: the header as stored, 348 bytes.
        order: its byte order, "<" or ">".
        compressed: whether the file is gzipped.
    """

    raw: bytes
    order: _Order
    compressed: bool

    @property
    def lengths(self) -> tuple[int, ...]:
        """Voxels along every axis, the fastest first: x, y, z, and more if they are longer than one."""
        dimensions, *lengths = self._numbers(40, "i2", 8).tolist()
        kept = lengths[:dimensions] if 0 < dimensions < len(lengths) + 1 else []
        while len(kept) > 3 and kept[-1] == 1:
            kept.pop()
        return tuple(kept)

    @property
    def voxel_offset(self) -> float:
        """Where the voxels begin; NIfTI stores it as a float."""
        return float(self._numbers(108, "f4", 1)[0])

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Type of the stored values; None if a voxel is no single real number."""
        name = _TYPES.get(int(self._numbers(70, "i2", 1)[0]))
        return np.dtype(name).newbyteorder(self.order) if name else None

    @property
    def promised_bytes(self) -> int:
        """The least size of a whole file, before compression."""
        bits = int(self._numbers(72, "i2", 1)[0]) if self.dtype is None else 8 * self.dtype.itemsize
        offset = int(self.voxel_offset) if math.isfinite(self.voxel_offset) else 0
        return offset + math.prod(self.lengths) * bits // 8

    @property
    def is_plain(self) -> bool:
        """Whether the file holds one volume of real numbers as they are, so that `read_voxels` can read it."""
        slope, intercept = self._numbers(112, "f4", 2).tolist()
        return (
            self.dtype is not None
            and slope in {0, 1}
            and intercept == 0
            and self._numbers(68, "i2", 1)[0] == 0  # an intent may make vectors of the values
            and len(self.lengths) == 3
            and min(self.lengths) > 0
            and self.voxel_offset >= VOXEL_OFFSET
            and self.voxel_offset.is_integer()
        )

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """Three columns in mm, one for each axis x, y, z of the file, by the header's sform; no origin."""
        return self._numbers(280, "f4", 12).reshape(3, 4)[:, :3].astype(np.float64)

    def with_affine(self, columns: npt.NDArray[np.float64]) -> bytes:
        """The header's bytes with other columns in its sform."""
        rows = self._numbers(280, "f4", 12).reshape(3, 4).copy()
        rows[:, :3] = columns
        return self.raw[:280] + rows.tobytes() + self.raw[328:]

    def _numbers(self, at: int, kind: str, count: int) -> npt.NDArray[Any]:
        return np.frombuffer(self.raw, np.dtype(kind).newbyteorder(self.order), count, at)


def read_header(path: Path) -> Header | None:
    """The header of a file, or None if the file is not one of NIfTI-1 that holds its own voxels.

    Raises:
        ImageError: if the file cannot be read, or its compressed data is damaged.
    """
    with _errors_of(path):
        with path.open("rb") as file:
            compressed = file.read(2) == _GZIP
        with _open(path, compressed) as file:
            raw = file.read(HEADER_BYTES)
    order = _BYTE_ORDERS.get(raw[:4])
    if len(raw) < HEADER_BYTES or order is None or raw[344:] != _SINGLE_FILE:
        return None
    return Header(raw=raw, order=order, compressed=compressed)


def check_length(path: Path, header: Header) -> None:
    """Make sure that a file is as long as its header says, before memory is taken for what it says.

    Raises:
        ImageError: if it is shorter, or if its compressed data is damaged.
    """
    promised, stored = header.promised_bytes, path.stat().st_size
    found = stored
    if header.compressed:
        # A gzip file ends with its length before compression, modulo 4 GiB. If that is another than expected, it may
        # consist of several parts, or be no whole file: what it holds is counted.
        found = promised
        if promised > stored * _MOST_INFLATION or _length_noted(path) != promised % 2**32:
            found = _count(path)
    if found < promised:
        raise ImageError(
            f"{path}: the file is cut short: expected {promised} bytes ({' x '.join(map(str, header.lengths))} voxels "
            f"by its header), found {found}; copy it again from where it came from"
        )


def check_checksum(path: Path, header: Header) -> None:
    """Make sure that compressed data can be inflated up to its end.

    Raises:
        ImageError: if it cannot.
    """
    if header.compressed:
        _count(path)


def read_voxels(path: Path, header: Header) -> npt.NDArray[Any]:
    """The voxels of a plain file, in the stored type and the machine's byte order.

    Values that are not numbers are kept (ITK makes them 0).

    Args:
        path: the file.
        header: its header, which `is_plain`; the file's length is checked.

    Returns:
        array (z, y, x), inflated in place: nothing of its size exists besides.

    Raises:
        ImageError: if the compressed data is damaged or the array does not fit into memory.
    """
    dtype = header.dtype
    if dtype is None or not header.is_plain:
        raise ImageError(f"{path}: expected one volume of unscaled real numbers, found another kind of NIfTI file")
    with _errors_of(path), _open(path, header.compressed) as file:
        array_zyx = np.empty(header.lengths[::-1], dtype)
        file.seek(int(header.voxel_offset))
        block = array_zyx.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(block):
            count = file.readinto(block[done : done + _CHUNK_BYTES])
            if not count:
                raise EOFError(f"{len(block)} bytes of voxels expected, {done} found")
            done += count
        # What follows belongs to nobody, but the checksum stands at the very end.
        while header.compressed and file.read(_CHUNK_BYTES):
            pass
    if not dtype.isnative:
        array_zyx = array_zyx.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return array_zyx


def can_write(array_zyx: npt.NDArray[Any]) -> bool:
    """Whether `write_compressed` knows how to store an array."""
    return array_zyx.ndim == 3 and max(array_zyx.shape) <= LONGEST_AXIS and array_zyx.dtype.str[1:] in _TYPES.values()


def write_compressed(path: Path, header: bytes, array_zyx: npt.NDArray[Any]) -> None:
    """Write a gzipped NIfTI-1 file, to the disk itself; the same array gives the same bytes.

    Args:
        path: the file, overwritten.
        header: all that goes before the voxels, little-endian, of a volume of any shape and the array's type.
        array_zyx: array (z, y, x) of any strides, that `can_write`; planes are compressed one at a time.

    Raises:
        OSError: if it cannot be written.
    """
    lengths = np.array([3, *array_zyx.shape[::-1]], dtype="<i2").tobytes()
    stored = array_zyx.dtype.newbyteorder("<")
    with path.open("wb") as file:
        with _gzip_writer(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as packed:
            packed.write(header[:40] + lengths + header[40 + len(lengths) :])
            for plane_yx in array_zyx:
                packed.write(np.ascontiguousarray(plane_yx, dtype=stored).data)
        file.flush()
        os.fsync(file.fileno())


def _open(path: Path, compressed: bool) -> io.BufferedIOBase:
    return _gzip_reader(path, "rb") if compressed else path.open("rb")


def _length_noted(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        return int.from_bytes(file.read(), "little")


def _count(path: Path) -> int:
    """Bytes that a gzipped file holds; none is kept."""
    total = 0
    with _errors_of(path), _gzip_reader(path, "rb") as file:
        while count := len(file.read(_CHUNK_BYTES)):
            total += count
    return total


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """What can go wrong with the file of that name, as our errors."""
    again = "copy it again from where it came from"
    try:
        yield
    except EOFError as error:
        raise ImageError(f"{path}: the file is cut short ({error}); {again}") from error
    except (gzip.BadGzipFile, _IsalError) as error:
        raise ImageError(f"{path}: the compressed data is damaged ({error}); {again}") from error
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise ImageError(f"{path}: does not fit into memory ({error}); use a machine with more of it") from error
