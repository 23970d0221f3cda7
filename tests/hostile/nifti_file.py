"""NIfTI-1 files, written field by field, so that any field can be made wrong."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.hostile.kind import SPACING_MM, Truth, intensities, pattern

# Name, offset and type of each field that the corpus changes.
FIELDS = {
    **{"sizeof_hdr": (0, "i"), "dim": (40, "8h"), "intent_code": (68, "h"), "datatype": (70, "h"), "bitpix": (72, "h")},
    **{"pixdim": (76, "8f"), "vox_offset": (108, "f"), "scl_slope": (112, "f"), "scl_inter": (116, "f")},
    **{"xyzt_units": (123, "B"), "qform_code": (252, "h"), "sform_code": (254, "h"), "qform": (256, "6f")},
    **{"srow_x": (280, "4f"), "srow_y": (296, "4f"), "srow_z": (312, "4f"), "magic": (344, "4s")},
}
CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}


def header(shape_zyx: tuple[int, ...] = (7, 13, 11), dtype: str = "i2", order: str = "<", **changes: object) -> bytes:
    """The 348 bytes of a header; the scan is stored in LPS, at (-30, 20, -700) mm."""
    lengths = shape_zyx[::-1]
    z, y, x = SPACING_MM
    values: dict[str, object] = {
        "sizeof_hdr": 348,
        "dim": (len(lengths), *lengths, *(1,) * (7 - len(lengths))),
        "datatype": CODES.get(dtype, 4),
        "bitpix": 8 * int(dtype[1]),
        "pixdim": (1, x, y, z, 0, 0, 0, 0),
        "vox_offset": 352,
        "scl_slope": 1,
        "xyzt_units": 2,
        "qform_code": 1,
        "sform_code": 1,
        "qform": (0, 0, 1, 30, -20, -700),  # half a turn about z: RAS to LPS
        "srow_x": (-x, 0, 0, 30),
        "srow_y": (0, -y, 0, -20),
        "srow_z": (0, 0, z, -700),
        "magic": b"n+1\0",
    }
    raw = bytearray(348)
    for name, value in (values | changes).items():
        at, kind = FIELDS[name]
        struct.pack_into(order + kind, raw, at, *(value if isinstance(value, tuple) else (value,)))
    return bytes(raw)


def content(bright_zyx: np.ndarray | None = None, dtype: str = "i2", order: str = "<", **changes: object) -> bytes:
    """A whole file, before compression."""
    bright = pattern() if bright_zyx is None else bright_zyx
    head = header(bright.shape, dtype, order, **changes)
    return head + bytes(4) + intensities(bright, order + dtype).tobytes()


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def nifti(
    bright_zyx: np.ndarray | None = None, dtype: str = "i2", order: str = "<", **changes: object
) -> Callable[[Path], Truth]:
    """A writer of a file with some fields changed, gzipped if its name says so."""

    def write(path: Path) -> Truth:
        data = content(bright_zyx, dtype, order, **changes)
        path.write_bytes(packed(data) if path.name.endswith(".gz") else data)
        return Truth(bright_zyx=pattern() if bright_zyx is None else bright_zyx)

    return write


def nifti_of(values_zyx: np.ndarray, bright_zyx: np.ndarray, **changes: object) -> Callable[[Path], Truth]:
    """A writer of a file with given stored values, which is bright at given places."""

    def write(path: Path) -> Truth:
        name = values_zyx.dtype.str[1:]
        head = header(values_zyx.shape, name, **changes)
        path.write_bytes(packed(head + bytes(4) + values_zyx.tobytes()))
        return Truth(bright_zyx=bright_zyx)

    return write


def altered(change: Callable[[bytes], bytes], *, of_packed: bool = False) -> Callable[[Path], Truth]:
    """A writer of a good file whose bytes, before or after compression, are changed."""

    def write(path: Path) -> Truth:
        data = content()
        if of_packed:
            path.write_bytes(change(packed(data)))
        else:
            path.write_bytes(packed(change(data)) if path.name.endswith(".gz") else change(data))
        return Truth(bright_zyx=pattern())

    return write
