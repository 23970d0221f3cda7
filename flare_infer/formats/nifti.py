"""NIfTI-1 files: what a header says, refused where it lies, and label maps deflated straight into the file.

Where a volume lies in the patient is ITK's to say of the header alone (`itk_header`).
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from isal import igzip

from flare_infer.errors import ImageError
from flare_infer.formats.foreign import named
from flare_infer.formats.plausible import FARTHEST_MM
from flare_infer.formats.voxel_block import VoxelBlock, errors_of, gzip_reader
from flare_infer.geometry import Shape, triple_of_ints

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
_OTHER_KINDS: Final = {
    b"ni1\0": "the header of a pair of files (.hdr and .img)",
    b"\0\0\0\0": "an ANALYZE header, which does not tell left from right",
}
"""By the last four bytes of a header."""

_NIFTI_2: Final = (540).to_bytes(4, "little"), (540).to_bytes(4, "big")
_GZIP: Final = b"\x1f\x8b"

_OTHER_TYPES: Final = {
    **{32: "type complex64", 1792: "type complex128", 2048: "type complex256"},
    **{128: "3 channels (RGB)", 2304: "4 channels (RGBA)", 1: "single bits", 1536: "128-bit floats"},
}

_NEGLIGIBLE: Final = 2.0**-52
"""Up to here ITK takes a slope or an intercept for 0."""

_LEVEL: Final = 1
"""Of ISA-L: 554 planes of 512 x 512 labels in 12 ms, and only level 0, in three times the bytes, is quicker."""

# The type isal does not give.
_gzip_writer: Callable[..., io.BufferedIOBase] = igzip.IGzipFile


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a NIfTI-1 header says.

    Attributes:
        raw: the header as stored, 348 bytes.
        order: byte order of the header, "<" or ">".
        compressed: whether the file is gzipped.
    """

    raw: bytes
    order: _Order
    compressed: bool

    @property
    def axes(self) -> int:
        """Number of axes that the header promises; 1 to 7 in a header that is not damaged."""
        return int(self._numbers(40, "i2", 1)[0])

    @property
    def lengths(self) -> tuple[int, ...]:
        """Voxels along every axis, the fastest first: x, y, z, and more if they are longer than one."""
        kept = self._numbers(42, "i2", 7).tolist()[: max(self.axes, 0)]
        while len(kept) > 3 and kept[-1] <= 1:  # as ITK has it: 0, as some tools write, is 1
            kept.pop()
        return tuple(kept)

    @property
    def type_code(self) -> int:
        """NIfTI's code of the data type."""
        return int(self._numbers(70, "i2", 1)[0])

    @property
    def voxel_offset(self) -> float:
        """Where the voxels begin; NIfTI stores it as a float."""
        return float(self._numbers(108, "f4", 1)[0])

    @property
    def block(self) -> VoxelBlock:
        """Where the voxels lie, of a header that `refuse_lies` let pass."""
        x, y, z = self.lengths
        return VoxelBlock(
            offset=int(self.voxel_offset),
            lengths=(x, y, z),
            dtype=np.dtype(_TYPES[self.type_code]).newbyteorder(self.order),
            packing="gzip from the start" if self.compressed else "raw",
        )

    @property
    def scaling(self) -> tuple[float, float] | None:
        """Slope and intercept from stored values to true ones; None if the values are stored as they are.

        As ITK has it: numbers that are not finite count as 0, and a slope next to 0 as 1.
        """
        numbers = self._numbers(112, "f4", 2).tolist()
        slope, intercept = (value if math.isfinite(value) else 0.0 for value in numbers)
        if abs(slope) < _NEGLIGIBLE:
            slope = 1.0
        is_scaled = abs(slope) > _NEGLIGIBLE and (slope != 1 or abs(intercept) > _NEGLIGIBLE)
        return (slope, intercept) if is_scaled else None

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distances of voxels along (x, y, z) as stored, in the header's unit of length."""
        x, y, z = self._numbers(80, "f4", 3).tolist()
        return x, y, z

    @property
    def form_codes(self) -> tuple[int, int]:
        """Codes of qform and sform, the two statements on how the patient lies; above 0 if they are made."""
        qform_code, sform_code = self._numbers(252, "i2", 2).tolist()
        return qform_code, sform_code

    @property
    def qform_axes(self) -> npt.NDArray[np.float64]:
        """Three unit columns, one for each axis x, y, z of the file, by the header's qform."""
        # The header stores b, c and d of a unit quaternion, from which its real part a follows. Rounded numbers may
        # be a little too long for a unit; they are scaled, since the columns must have length 1.
        b, c, d = self._numbers(256, "f4", 3).astype(np.float64).tolist()
        a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
        size = math.sqrt(a * a + b * b + c * c + d * d)
        a, b, c, d = a / size, b / size, c / size, d / size

        # The rotation matrix of the quaternion. A negative first pixdim turns the third axis, as the standard says.
        handedness = -1 if self._numbers(76, "f4", 1)[0] < 0 else 1
        return np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), handedness * 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, handedness * 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), handedness * (a * a + d * d - b * b - c * c)],
            ]
        )

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """Three columns in mm, one for each axis x, y, z of the file, by the header's sform; no origin."""
        return self._numbers(280, "f4", 12).reshape(3, 4)[:, :3].astype(np.float64)

    @property
    def coordinates(self) -> npt.NDArray[np.float64]:
        """All numbers of those of qform and sform that the header says are valid."""
        qform_code, sform_code = self._numbers(252, "i2", 2)
        qform, sform = self._numbers(256, "f4", 6), self._numbers(280, "f4", 12)
        valid = [numbers for code, numbers in ((qform_code, qform), (sform_code, sform)) if code > 0]
        return np.concatenate([*valid, np.zeros(1)]).astype(np.float64)

    def with_affine(self, columns: npt.NDArray[np.float64]) -> "Header":
        """The same header with other columns in its sform."""
        rows = self._numbers(280, "f4", 12).reshape(3, 4).copy()
        rows[:, :3] = columns
        raw = self.raw[:280] + rows.tobytes() + self.raw[328:]
        return Header(raw=raw, order=self.order, compressed=self.compressed)

    def _numbers(self, at: int, kind: str, count: int) -> npt.NDArray[Any]:
        return np.frombuffer(self.raw, np.dtype(kind).newbyteorder(self.order), count, at)


def read_header(path: Path) -> Header:
    """The header of a file.

    Raises:
        ImageError: if the file cannot be read, its compressed data is damaged, or it is none of NIfTI-1 that holds its
            own voxels.
    """
    with errors_of(path), path.open("rb") as file:
        compressed = file.read(2) == _GZIP
        file.seek(0)
        raw = (gzip_reader(fileobj=file, mode="rb") if compressed else file).read(HEADER_BYTES)
    if (what := named(raw)) is not None:
        raise ImageError(f"{path}: not a readable image: found {what}")
    order = _BYTE_ORDERS.get(raw[:4])
    if not raw:
        found = "an empty file"
    elif raw[:4] in _NIFTI_2:
        found = "NIfTI-2"
    elif order is None:
        found = f"a file that begins with {raw[:4]!r}"
    elif len(raw) < HEADER_BYTES:
        raise ImageError(
            f"{path}: the file is cut short: expected {HEADER_BYTES} bytes of header, found {len(raw)}; copy it again "
            "from where it came from"
        )
    elif raw[344:] != _SINGLE_FILE:
        found = _OTHER_KINDS.get(raw[344:], f"a header that ends with {raw[344:]!r}")
    else:
        return Header(raw=raw, order=order, compressed=compressed)
    raise ImageError(f"{path}: not a readable image: expected NIfTI-1 in one file, found {found}; convert it")


def refuse_lies(path: Path, header: Header) -> None:
    """Make sure that a header describes one volume of real numbers, and says nothing that cannot be.

    Raises:
        ImageError: if it does not.
    """
    if not 1 <= header.axes <= 7:
        raise _damaged(path, f"{header.axes} axes, expected 1 to 7")
    lengths = header.lengths
    if header.type_code in _OTHER_TYPES:
        found = f"values of {_OTHER_TYPES[header.type_code]}"
        raise ImageError(f"{path}: expected one scalar volume of Hounsfield units, found {found}; convert it")
    if len(lengths) != 3:
        raise ImageError(
            f"{path}: expected one scalar volume of 3 dimensions, found {len(lengths)} dimensions {lengths}; "
            "extract one volume first"
        )
    spacing_mm = header.spacing_mm
    damage = {
        f"voxels {' x '.join(map(str, lengths))}, expected at least one along every axis": min(lengths) > 0,
        f"data type {header.type_code}, which NIfTI does not know": header.type_code in _TYPES,
        f"voxels at byte {header.voxel_offset:g}, expected a whole number of at least {VOXEL_OFFSET}": (
            header.voxel_offset >= VOXEL_OFFSET and header.voxel_offset.is_integer()
        ),
        f"a spacing of {' x '.join(f'{value:g}' for value in spacing_mm)} mm, expected three positive numbers": (
            all(0 < value < FARTHEST_MM for value in spacing_mm)
        ),
        "coordinates that are no numbers or beyond a kilometer": (
            bool((np.abs(header.coordinates) <= FARTHEST_MM).all())
        ),
    }
    for found, is_right in damage.items():
        if not is_right:
            raise _damaged(path, found)


def _damaged(path: Path, found: str) -> ImageError:
    return ImageError(f"{path}: the header is damaged: found {found}; correct it, or export the scan again")


def can_write(array_zyx: npt.NDArray[Any]) -> bool:
    """Whether `write_compressed` knows how to store an array."""
    return array_zyx.ndim == 3 and max(array_zyx.shape) <= LONGEST_AXIS and array_zyx.dtype.str[1:] in _TYPES.values()


def write_compressed(path: Path, header: bytes, array_zyx: npt.NDArray[Any]) -> None:
    """Write a gzipped NIfTI-1 file; the same array gives the same bytes.

    Args:
        path: the file, overwritten.
        header: all that goes before the voxels, little-endian, of a volume of any shape and the array's type.
        array_zyx: array (z, y, x) of any strides, that `can_write`; planes are compressed one at a time.

    Raises:
        OSError: if it cannot be written.
    """
    stored = array_zyx.dtype.newbyteorder("<")
    with (
        path.open("wb") as file,
        _gzip_writer(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as packed,
    ):
        packed.write(with_lengths(header, triple_of_ints(array_zyx.shape)))
        for plane_yx in array_zyx:
            packed.write(np.ascontiguousarray(plane_yx, dtype=stored).data)


def with_lengths(header: bytes, shape: Shape) -> bytes:
    """A header, and what follows it before the voxels, with the lengths of other axes (z, y, x)."""
    lengths = np.array([3, *shape[::-1]], dtype="<i2").tobytes()
    return header[:40] + lengths + header[40 + len(lengths) :]
