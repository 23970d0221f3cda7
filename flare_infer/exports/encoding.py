"""Elements of a DICOM file as bytes, for what it holds by the thousand; all else is written by pydicom.

A Dataset for each frame or contour would take more time than the network does on a GPU.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_LONG: Final = frozenset({"OB", "OW", "SQ"})
"""Value representations whose length takes four bytes in files that name them."""

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_END: Final = 0xFFFEE0DD


@dataclass(frozen=True)
class Encoding:
    """How elements are written, little-endian in either case.

    Attributes:
        explicit: whether each names its value representation.
    """

    explicit: bool

    def head(self, tag: int, kind: str, length: int) -> bytes:
        """What stands before a value.

        Args:
            tag: group and element, such as 0x00080018.
            kind: value representation, such as "UI".
            length: number of bytes of the value.
        """
        if not self.explicit:
            return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)
        if kind in _LONG:
            return struct.pack("<HH2s2xI", tag >> 16, tag & 0xFFFF, kind.encode(), length)
        return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, kind.encode(), length)

    def element(self, tag: int, kind: str, value: str | bytes) -> bytes:
        """An element; its value is padded to an even length, as its kind asks."""
        content = value.encode("ascii") if isinstance(value, str) else value
        if len(content) % 2:
            content += b"\0" if kind in {"UI", "OB"} else b" "
        return self.head(tag, kind, len(content)) + content

    def sequence(self, tag: int, items: Sequence[bytes]) -> bytes:
        """A sequence of items, each of which is the elements in it."""
        content = b"".join(map(item, items))
        return self.head(tag, "SQ", len(content)) + content


def item(content: bytes) -> bytes:
    """An item of a sequence, or a fragment of compressed pixels; its length is even."""
    return struct.pack("<HHI", _ITEM >> 16, _ITEM & 0xFFFF, len(content)) + content


def fragments(frames: Iterable[bytes], explicit: Encoding) -> Iterator[bytes]:
    """The element of compressed pixels: an empty table of offsets, then a fragment for each frame."""
    yield explicit.head(0x7FE00010, "OB", _UNDEFINED) + item(b"")
    yield from map(item, frames)
    yield struct.pack("<HHI", _END >> 16, _END & 0xFFFF, 0)


def write_dicom(path: Path, header: "Dataset", large: Mapping[int, Iterable[bytes]]) -> None:
    """Write a file of a header and of some elements that exist as bytes already.

    Args:
        path: the file.
        header: all other elements, with `file_meta`, whose transfer syntax is a little-endian one.
        large: bytes of an element by its tag, head included, in parts.
    """
    from pydicom import config
    from pydicom.filebase import DicomFileLike
    from pydicom.filewriter import dcmwrite, write_dataset

    bounds = [0, *sorted(large), _UNDEFINED]
    first = header[: bounds[1]]
    first.file_meta = header.file_meta
    syntax = header.file_meta.TransferSyntaxUID
    with path.open("wb") as file, config.disable_value_validation():
        dcmwrite(file, first, enforce_file_format=True)
        rest = DicomFileLike(file)
        rest.is_little_endian, rest.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
        for start, end in pairwise(bounds[1:]):
            for part in large[start]:
                file.write(part)
            write_dataset(rest, header[start + 1 : end], header.get("SpecificCharacterSet", "iso8859"))
