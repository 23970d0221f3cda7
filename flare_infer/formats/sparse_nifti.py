"""Volumes of which most planes are zeros: these are compressed once, and never looked at again.

A compressed piece ends at a whole byte, and nothing in it refers to what lies before it: so the same piece may stand in
many places of one stream.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from flare_infer.formats.nifti import with_lengths
from flare_infer.geometry import Shape

_LEVEL: Final = 1  # of compression: the fastest that codes strings, too
_BARE: Final = -isal_zlib.MAX_WBITS  # a stream without header and sum, with the largest window
_CRC_BITS: Final = 32

_HEAD: Final = b"\x1f\x8b\x08\0" + bytes(4) + b"\0\xff"
"""Of a gzip file of deflated data without name and date, written on whatever system (RFC 1952)."""

_LAST: Final = b"\x03\0"
"""A block of nothing, which is the last one (RFC 1951)."""


def write_sparse(path: Path, header: bytes, shape: Shape, planes: Iterable[npt.NDArray[np.uint8] | None]) -> None:
    """Write a gzipped NIfTI-1 file of bytes, of which most planes are zeros.

    Args:
        path: the file, overwritten.
        header: all that goes before the voxels, little-endian, of a volume of any shape and of type uint8.
        shape: number of voxels along (z, y, x), each at most `nifti.LONGEST_AXIS`.
        planes: each plane (y, x) from the first to the last; None stands for zeros.

    Raises:
        OSError: if it cannot be written.
    """
    with path.open("wb") as file:
        packed = _SparseGzip(file)
        packed.write(with_lengths(header, shape))
        for plane_yx in planes:
            if plane_yx is None:
                packed.write_zeros(shape[1] * shape[2])
            else:
                packed.write(np.ascontiguousarray(plane_yx).ravel().data)
        packed.finish()


@dataclass(frozen=True)
class _Zeros:
    """A number of zeros.

    Attributes:
        packed: the zeros, compressed.
        alone: the CRC-32 that 0 becomes by them.
        each_bit: how each bit of the sum before changes that.
    """

    packed: bytes
    alone: int
    each_bit: tuple[int, ...]

    def crc32(self, before: int) -> int:
        """The CRC-32 of what has a given one, followed by the zeros: it is linear in the bits of the one before."""
        after = self.alone
        for bit, change in enumerate(self.each_bit):
            if before >> bit & 1:
                after ^= change
        return after


class _SparseGzip:
    """Writes one member of a gzip file, piece by piece.

    Args:
        file: the file, open for writing; it stays open.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._crc32, self._count = file, 0, 0
        file.write(_HEAD)

    def write(self, content: bytes | memoryview) -> None:
        """Write bytes that need not be zeros."""
        self._file.write(_packed(content))
        self._crc32 = isal_zlib.crc32(content, self._crc32)
        self._count += len(content)

    def write_zeros(self, count: int) -> None:
        """Write a number of zeros: quick if it is one of the last few numbers."""
        zeros = _zeros(count)
        self._file.write(zeros.packed)
        self._crc32 = zeros.crc32(self._crc32)
        self._count += count

    def finish(self) -> None:
        """Write the end of the member; nothing can be written after it."""
        self._file.write(_LAST + self._crc32.to_bytes(4, "little") + (self._count % 2**32).to_bytes(4, "little"))


def _packed(content: bytes | memoryview) -> bytes:
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _BARE)
    return bytes(packer.compress(content) + packer.flush(isal_zlib.Z_FULL_FLUSH))


@lru_cache(maxsize=4)
def _zeros(count: int) -> _Zeros:
    content = bytes(count)
    alone = isal_zlib.crc32(content, 0)
    each_bit = tuple(isal_zlib.crc32(content, 1 << bit) ^ alone for bit in range(_CRC_BITS))
    return _Zeros(_packed(content), alone, each_bit)
