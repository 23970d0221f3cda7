"""MetaImage files (.mha): the text before the voxels.

ITK's own reader trusts this text, up to writing past the end of its memory; so it is read here, and only what a CT
needs is accepted.
"""

from pathlib import Path
from typing import Final

import numpy as np

from flare_infer.errors import ImageError
from flare_infer.formats.doubts import UNEQUAL_SLICES, unequal_slices
from flare_infer.formats.voxel_block import Packing, VoxelBlock, errors_of, text_lines
from flare_infer.volume.volume import Placement

_LAST_KEY: Final = "ElementDataFile"
_INLINE: Final = {"LOCAL", "Local", "local"}
_GZIP: Final = b"\x1f\x8b"

_TYPES: Final = {
    **{"MET_CHAR": "i1", "MET_SHORT": "i2", "MET_INT": "i4", "MET_LONG": "i4", "MET_LONG_LONG": "i8"},
    **{"MET_UCHAR": "u1", "MET_USHORT": "u2", "MET_UINT": "u4", "MET_ULONG": "u4", "MET_ULONG_LONG": "u8"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}

_MUST_BE: Final = {
    "BinaryData": ("True", "True"),
    "HeaderSize": ("0", "0"),
}
"""Fields with the only value that is read, and what their absence means."""

_SPACING: Final = ("ElementSpacing", "ElementSize")
_ORIGIN: Final = ("Offset", "Position", "Origin")
_AXES: Final = ("TransformMatrix", "Rotation", "Orientation")
_BIG_ENDIAN: Final = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_KNOWN: Final = {
    *(*_MUST_BE, *_SPACING, *_ORIGIN, *_AXES, *_BIG_ENDIAN, _LAST_KEY),
    *("NDims", "DimSize", "ElementNumberOfChannels", "ElementType", "CompressedData"),
}
"""What else a header holds, such as the tags of DICOM, is passed over."""

_MOST_AXES: Final = 10
"""ITK's own reader has no room for more."""


def read_metaimage(path: Path) -> tuple[VoxelBlock, Placement, tuple[str, ...]]:
    """Where the voxels of a file lie in it and in the patient, and what speaks against that, for the user.

    Axes beyond the third are read if they have one voxel.

    Raises:
        ImageError: if the file cannot be read, its voxels lie in another file, or it is no three-dimensional scalar
            image.
    """
    fields, offset = _fields(path)
    data_file = fields[_LAST_KEY]
    if data_file not in _INLINE:
        raise ImageError(f"{path}: the voxels lie in another file ({data_file!r}), and only files that hold their own "
                         "are read; convert it")  # fmt: skip
    for key, (needed, default) in _MUST_BE.items():
        if fields.get(key, default) != needed:
            raise ImageError(f"{path}: expected {key} = {needed}, found {fields[key]!r}; convert it")
    axes = _axes(path, fields)
    if (channels := fields.get("ElementNumberOfChannels", "1")) != "1":
        raise ImageError(
            f"{path}: expected one scalar volume of Hounsfield units, found {channels} channels; convert it"
        )
    name = fields.get("ElementType", "none")
    if name not in _TYPES:
        raise ImageError(f"{path}: expected an ElementType of single real numbers, found {name}; convert it")
    lengths = _numbers(path, fields, ("DimSize",), axes, "")
    if not all(value >= 1 and value.is_integer() for value in lengths):
        raise ImageError(
            f"{path}: expected a DimSize of at least one voxel along every axis, found {fields['DimSize']}"
        )
    big_endian = next((fields[key] for key in _BIG_ENDIAN if key in fields), "False") == "True"
    block = VoxelBlock(
        offset=offset,
        lengths=(int(lengths[0]), int(lengths[1]), int(lengths[2])),
        dtype=np.dtype(_TYPES[name]).newbyteorder(">" if big_endian else "<"),
        packing=_packing(path, fields, offset),
    )
    placement = _placement(path, fields, axes)
    return block, placement, unequal_slices(fields, placement.spacing_mm[0])


def _axes(path: Path, fields: dict[str, str]) -> int:
    """The number of axes, all beyond the third of one voxel."""
    dimensions, size = fields.get("NDims", "no"), fields.get("DimSize", "")
    known = {str(axes): axes for axes in range(3, _MOST_AXES + 1)}
    if dimensions not in known or (known[dimensions] > 3 and size.split()[3:] != ["1"] * (known[dimensions] - 3)):
        raise ImageError(
            f"{path}: expected one scalar volume of 3 dimensions, found {dimensions} dimensions ({size}); "
            "extract one volume first"
        )
    return known[dimensions]


def _packing(path: Path, fields: dict[str, str], offset: int) -> Packing:
    if fields.get("CompressedData", "False") != "True":
        return "raw"
    with errors_of(path), path.open("rb") as file:
        file.seek(offset)
        return "gzip" if file.read(2) == _GZIP else "zlib"


def _placement(path: Path, fields: dict[str, str], count: int) -> Placement:
    """Patient coordinates are LPS, whatever `AnatomicalOrientation` says, as ITK has it."""
    spacing = _numbers(path, fields, _SPACING, count, "1 " * count)
    origin = _numbers(path, fields, _ORIGIN, count, "0 " * count)
    # A number of each axis for each axis x, y, z, ... of the file.
    axes = _numbers(path, fields, _AXES, count * count, ("1 " + "0 " * count) * (count - 1) + "1")
    x, y, z = ((axes[at], axes[at + 1], axes[at + 2]) for at in (0, count, 2 * count))
    return Placement(
        spacing_mm=(spacing[2], spacing[1], spacing[0]),
        origin_mm=(origin[0], origin[1], origin[2]),
        axes=(z, y, x),
    )


def _numbers(path: Path, fields: dict[str, str], keys: tuple[str, ...], count: int, default: str) -> list[float]:
    """The numbers of the first of some fields with one meaning that is there."""
    text = next((fields[key] for key in keys if key in fields), default)
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise ImageError(
            f"{path}: the header is damaged: expected {count} numbers as {keys[0]}, found {text!r}; convert it again"
        )
    return numbers


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The fields of the text that are known, the last included, and where the voxels begin."""
    fields: dict[str, str] = {}
    offset, begin = 0, b""
    for line in text_lines(path):
        begin = begin or line[:12]
        offset += len(line)
        key, equals, value = line.decode("latin-1").partition("=")
        if not equals or not line.endswith(b"\n"):
            break
        name = key.strip()
        if name in _KNOWN or name.lower() == UNEQUAL_SLICES:
            fields[name if name in _KNOWN else UNEQUAL_SLICES] = value.strip()
        if name == _LAST_KEY:
            return fields, offset
    found = f"a file that begins with {begin!r}" if begin else "an empty file"
    raise ImageError(
        f"{path}: not a readable image: expected a MetaImage header up to {_LAST_KEY}, found {found}; convert it"
    )
