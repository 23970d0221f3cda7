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
from flare_infer.formats.stored import Block, Packing, errors_of
from flare_infer.volume import Placement

_LONGEST_TEXT: Final = 64 * 1024
_MAGIC: Final = re.compile(rb"NRRD000[1-5]\r?\n")

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
    **dict.fromkeys(("left-posterior-superior", "lps"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1.0, -1.0, 1.0)),
}
"""Signs that turn a vector of a space to LPS."""


def read_nrrd(path: Path) -> tuple[Block, Placement]:
    """Where the voxels of a file lie in it and in the patient.

    Raises:
        ImageError: if the file cannot be read, its voxels lie in another file, or it is no three-dimensional scalar
            image.
    """
    fields, offset = _fields(path)
    if data_file := fields.get("data file", fields.get("datafile")):
        raise ImageError(
            f"{path}: the voxels lie in another file ({data_file!r}), and only files that hold their own are read; "
            "convert it"
        )
    for key in ("line skip", "lineskip", "byte skip", "byteskip", "axis mins", "axismins"):
        if fields.get(key, "0") != "0":
            raise ImageError(f"{path}: a file with the field {key!r} ({fields[key]}) is not read; convert it")
    dimensions, sizes = fields.get("dimension", "no"), fields.get("sizes", "")
    if dimensions != "3":
        raise ImageError(
            f"{path}: expected one scalar volume of 3 dimensions, found {dimensions} dimensions ({sizes}); "
            "extract one volume first"
        )
    if not all(kind in {"domain", "space", "???", "none"} for kind in fields.get("kinds", "").lower().split()):
        raise ImageError(f"{path}: expected one real number a voxel, found the kinds {fields['kinds']}; convert it")
    lengths = _numbers(path, fields, "sizes", sizes.split())
    if not all(value >= 1 and value.is_integer() for value in lengths):
        raise ImageError(
            f"{path}: expected sizes of at least one voxel along every axis, found {sizes}; convert it again"
        )
    block = Block(
        offset=offset,
        lengths=(int(lengths[0]), int(lengths[1]), int(lengths[2])),
        dtype=_dtype(path, fields),
        packing=_PACKINGS[_one_of(path, fields, "encoding", _PACKINGS)],
    )
    return block, _placement(path, fields)


def _dtype(path: Path, fields: dict[str, str]) -> np.dtype[Any]:
    dtype = np.dtype(_TYPES[_one_of(path, fields, "type", _TYPES)])
    return dtype.newbyteorder(_ORDERS[_one_of(path, fields, "endian", _ORDERS)]) if dtype.itemsize > 1 else dtype


def _placement(path: Path, fields: dict[str, str]) -> Placement:
    signs = np.array(_TO_LPS.get(fields.get("space", "").lower(), (1.0, 1.0, 1.0)))
    if "space directions" in fields:
        vectors = _vectors(path, fields, "space directions", 3) * signs  # a row for each axis x, y, z of the file
        spacing = np.linalg.norm(vectors, axis=1)
    else:
        words = fields.get("spacings", "1 1 1").split()
        spacing = np.array(_numbers(path, fields, "spacings", words))
        vectors = np.diag(spacing)
    origin = (_vectors(path, fields, "space origin", 1)[0] if "space origin" in fields else np.zeros(3)) * signs
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y, z = (vectors / spacing[:, None]).tolist()
    return Placement(
        spacing_mm=(float(spacing[2]), float(spacing[1]), float(spacing[0])),
        origin_mm=(float(origin[0]), float(origin[1]), float(origin[2])),
        axes=(tuple(z), tuple(y), tuple(x)),
    )


def _vectors(path: Path, fields: dict[str, str], key: str, count: int) -> npt.NDArray[np.float64]:
    """Vectors written as (1,0,0), one a row."""
    text = fields[key]
    found = re.findall(r"\(([^()]*)\)", text)
    if len(found) != count or "none" in text:
        raise _damaged(path, f"{count} vector(s)", key, text)
    return np.array([_numbers(path, fields, key, vector.split(",")) for vector in found])


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
    """The fields of the text, and where the voxels begin: behind the first empty line."""
    with errors_of(path), path.open("rb") as file:
        text = file.read(_LONGEST_TEXT)
    found = f"a file that begins with {text[:12]!r}" if text else "an empty file"
    fields: dict[str, str] = {}
    if magic := _MAGIC.match(text):
        found = "a header without an end"
        offset = magic.end()
        for line in text[offset:].splitlines(keepends=True):
            offset += len(line)
            if not line.strip():
                return fields, offset
            key, colon, value = line.decode("latin-1").partition(":")
            if colon and not key.startswith("#") and not value.startswith("="):
                fields[key.strip().lower()] = value.strip()
    raise ImageError(f"{path}: not a readable image: expected an NRRD header, found {found}; convert it")
