"""NRRD files (.nrrd): the text before the voxels.

It may name other files and skip parts of them; here only a file that holds its own voxels is accepted, and nothing in
it is ever used as a path.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from flare_infer.errors import ImageError
from flare_infer.formats.doubts import UNEQUAL_SLICES, unequal_slices
from flare_infer.formats.voxel_block import Packing, VoxelBlock, text_lines
from flare_infer.volume.volume import Placement

_MAGIC: Final = re.compile(rb"NRRD000[1-5]\r?\n")

_WORD: Final = re.compile(r"none|\([^()]*\)")

_TYPES: Final = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    **{"float": "f4", "double": "f8"},
}

_PACKINGS: Final[dict[str, Packing]] = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}
_ORDERS: Final[dict[str, Literal["<", ">"]]] = {"little": "<", "big": ">"}

_TO_LPS: Final = {
    **dict.fromkeys(("left-posterior-superior", "lps", "lpst"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("right-anterior-superior", "ras", "rast"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las", "last"), (1.0, -1.0, 1.0)),
}
"""Signs that turn a vector of a space to LPS."""

_DETACHED: Final = ("data file", "datafile")
_MUST_BE_ZERO: Final = ("line skip", "lineskip", "byte skip", "byteskip", "axis mins", "axismins")
_KNOWN: Final = {
    *(*_DETACHED, *_MUST_BE_ZERO, "dimension", "sizes", "kinds", "type", "endian", "encoding", "space"),
    *("space directions", "space origin", "spacings"),
}
"""What else a header holds, such as the tags of DICOM, is passed over."""

_MOST_AXES: Final = 16
"""NRRD knows no more."""


def read_nrrd(path: Path) -> tuple[VoxelBlock, Placement, tuple[str, ...]]:
    """Where the voxels of a file lie in it and in the patient, and what speaks against that, for the user.

    Axes of one voxel that no patient has (frames, components) are read where three others are left.

    Raises:
        ImageError: if the file cannot be read, its voxels lie in another file, or it is no three-dimensional scalar
            image.
    """
    fields, offset = _fields(path)
    if data_file := next((fields[key] for key in _DETACHED if key in fields), None):
        raise ImageError(
            f"{path}: the voxels lie in another file ({data_file!r}), and only files that hold their own are read; "
            "convert it"
        )
    for key in _MUST_BE_ZERO:
        if fields.get(key, "0") != "0":
            raise ImageError(f"{path}: a file with the field {key!r} ({fields[key]}) is not read; convert it")
    kept = _patient_axes(path, fields)
    kinds, sizes = fields.get("kinds", "").lower().split(), fields.get("sizes", "")
    if not all(kind in {"domain", "space", "???", "none"} for kind in _of_axes(kinds, kept)):
        raise ImageError(f"{path}: expected one real number a voxel, found the kinds {fields['kinds']}; convert it")
    lengths = _numbers(path, fields, "sizes", _of_axes(sizes.split(), kept))
    if not all(value >= 1 and value.is_integer() for value in lengths):
        raise ImageError(
            f"{path}: expected sizes of at least one voxel along every axis, found {sizes}; convert it again"
        )
    block = VoxelBlock(
        offset=offset,
        lengths=(int(lengths[0]), int(lengths[1]), int(lengths[2])),
        dtype=_dtype(path, fields),
        packing=_PACKINGS[_one_of(path, fields, "encoding", _PACKINGS)],
    )
    placement = _placement(path, fields, kept)
    return block, placement, unequal_slices(fields, placement.spacing_mm[0])


def _patient_axes(path: Path, fields: dict[str, str]) -> tuple[bool, ...]:
    """Of each axis of the file, whether it is one of x, y and z."""
    dimensions, sizes = fields.get("dimension", "no"), fields.get("sizes", "").split()
    if dimensions == "3":
        return True, True, True
    directions = _WORD.findall(fields.get("space directions", ""))
    # As ITK has it: an axis without direction is none of the patient, wherever it stands; others lie behind the third.
    if "none" in directions and len(directions) == len(sizes):
        kept = tuple(size != "1" or word != "none" for size, word in zip(sizes, directions, strict=True))
    else:
        kept = tuple(size != "1" or axis < 3 for axis, size in enumerate(sizes))
    if dimensions not in map(str, range(4, _MOST_AXES + 1)) or len(sizes) != int(dimensions) or sum(kept) != 3:
        raise ImageError(
            f"{path}: expected one scalar volume of 3 dimensions, found {dimensions} dimensions ({' '.join(sizes)}); "
            "extract one volume first"
        )
    return kept


def _of_axes(words: list[str], kept: tuple[bool, ...]) -> list[str]:
    """The words of some axes of the file, of a field with a word for each; all of a field with another number."""
    return [word for word, keep in zip(words, kept, strict=True) if keep] if len(words) == len(kept) else words


def _dtype(path: Path, fields: dict[str, str]) -> np.dtype[Any]:
    dtype = np.dtype(_TYPES[_one_of(path, fields, "type", _TYPES)])
    return dtype.newbyteorder(_ORDERS[_one_of(path, fields, "endian", _ORDERS)]) if dtype.itemsize > 1 else dtype


def _placement(path: Path, fields: dict[str, str], kept: tuple[bool, ...]) -> Placement:
    signs = np.array(_TO_LPS.get(fields.get("space", "").lower().removesuffix("-time"), (1.0, 1.0, 1.0)))
    if "space directions" in fields:
        # A row for each axis x, y, z of the file.
        vectors = _vectors(path, fields, "space directions", kept, len(kept)) * signs
        spacing = np.linalg.norm(vectors, axis=1)
    else:
        words = _of_axes(fields.get("spacings", "1 1 1").split(), kept)
        spacing = np.array(_numbers(path, fields, "spacings", words))
        vectors = np.diag(spacing)
    origin = np.zeros(3)
    if "space origin" in fields:
        origin = _vectors(path, fields, "space origin", (True,), len(kept))[0] * signs
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y, z = (vectors / spacing[:, None]).tolist()
    return Placement(
        spacing_mm=(float(spacing[2]), float(spacing[1]), float(spacing[0])),
        origin_mm=(float(origin[0]), float(origin[1]), float(origin[2])),
        axes=(tuple(z), tuple(y), tuple(x)),
    )


def _vectors(
    path: Path, fields: dict[str, str], key: str, kept: tuple[bool, ...], axes: int
) -> npt.NDArray[np.float64]:
    """Vectors of some axes, written as (1,0,0), one a row; where all axes of a file are a space's, its first three."""
    text = fields[key]
    found = _of_axes(_WORD.findall(text), kept)
    if len(found) != sum(kept) or "none" in found:
        raise _damaged(path, f"{sum(kept)} vector(s)", key, text)
    numbers = [vector.strip("()").split(",") for vector in found]
    return np.array([_numbers(path, fields, key, each[:3] if len(each) == axes else each) for each in numbers])


def _numbers(path: Path, fields: dict[str, str], key: str, words: list[str]) -> list[float]:
    """Three numbers."""
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != 3:
        raise _damaged(path, "three numbers", key, fields.get(key, "nothing"))
    return numbers


def _one_of(path: Path, fields: dict[str, str], key: str, known: Iterable[str]) -> str:
    value = fields.get(key, "nothing").lower()
    if value not in known:
        raise ImageError(f"{path}: the {key} {value!r} is not read; convert it")
    return value


def _damaged(path: Path, expected: str, key: str, found: str) -> ImageError:
    return ImageError(f"{path}: the header is damaged: expected {expected} as {key}, found {found!r}; convert it again")


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The fields of the text that are known, and where the voxels begin: behind the first empty line."""
    fields: dict[str, str] = {}
    offset, found = 0, "an empty file"
    for line in text_lines(path):
        if not offset and not _MAGIC.fullmatch(line):
            found = f"a file that begins with {line[:12]!r}"
            break
        found = "a header without an end"
        offset += len(line)
        if not line.strip():
            return fields, offset
        key, colon, value = line.decode("latin-1").partition(":")
        name = key.strip().lower()
        # After := stands what NRRD itself does not know.
        if colon and (name == UNEQUAL_SLICES if value.startswith("=") else name in _KNOWN):
            fields[name] = value.removeprefix("=").strip()
    raise ImageError(f"{path}: not a readable image: expected an NRRD header, found {found}; convert it")
