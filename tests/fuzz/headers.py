"""Properties of readers: bytes and fields of good files are changed; what comes out is ITK's volume, or one line."""

import gzip
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flare_infer.errors import ImageError
from flare_infer.formats.volume_io import read_volume
from tests.fuzz.judge import assert_as_itk_reads, read_or_refusal
from tests.hostile.kind import Truth, intensities, pattern
from tests.hostile.nifti_file import CODES, FIELDS, content
from tests.hostile.text_formats import mha, nrrd

floats = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, 3e38, 352.0, 348.0, 353.0, 352.5, float("nan"), float("inf")]),
    st.floats(width=32),
    st.floats(-4, 4, width=32),
)
shorts = st.one_of(st.integers(-3, 8), st.sampled_from([*CODES.values(), 128, 32, 1536, 32767, -32768]))
VALUES = {"h": shorts, "f": floats, "i": st.integers(-(2**31), 2**31 - 1), "B": st.integers(0, 255)}


@st.composite
def field_edits(draw: st.DrawFn) -> list[tuple[int, str, object]]:
    """Places, formats and values of some fields of a NIfTI header."""
    edits = []
    for name in draw(st.lists(st.sampled_from(sorted(set(FIELDS) - {"sizeof_hdr", "magic"})), min_size=1, max_size=4)):
        at, kind = FIELDS[name]
        count, letter = int(kind[:-1] or 1), kind[-1]
        position = draw(st.integers(0, count - 1))
        edits.append((at + position * struct.calcsize(letter), letter, draw(VALUES[letter])))
    return edits


byte_edits = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6)


def edited(data: bytes, edits: list[tuple[int, int]]) -> bytes:
    """Some bytes changed, at places modulo the length."""
    changed = bytearray(data)
    for at, value in edits:
        changed[at % len(changed)] = value
    return bytes(changed)


def judged(name: str, data: bytes, *, by_itk: bool) -> None:
    """Read bytes as a file of that name; if they pass, compare with ITK where it reads them, too."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        volume = read_or_refusal(path)
        if volume is None or not by_itk:
            return
        try:
            assert_as_itk_reads(path, volume)
        except RuntimeError as error:
            if "orthonormal" not in str(error):  # axes that are squared up here
                raise


@given(
    edits=field_edits(),
    order=st.sampled_from("<>"),
    dtype=st.sampled_from(sorted(CODES)),
    name=st.sampled_from(["a.nii", "a.nii.gz"]),
)
def nifti_fields(edits: list[tuple[int, str, object]], order: str, dtype: str, name: str) -> None:
    """Fields of a header take values that may be right, odd or absurd."""
    data = bytearray(content(pattern((3, 4, 5)), dtype, order))
    for at, letter, value in edits:
        struct.pack_into(order + letter, data, at, value)
    judged(name, gzip.compress(data, 1) if name.endswith(".gz") else bytes(data), by_itk=True)


@given(edits=byte_edits, name=st.sampled_from(["a.nii", "a.nii.gz"]), keep=st.integers(0, 600))
def nifti_bytes(edits: list[tuple[int, int]], name: str, keep: int) -> None:
    """Any bytes of a header change; sometimes the file is cut as well."""
    data = content(pattern((3, 4, 5)))
    data = edited(data[:352], edits) + data[352:]
    data = data[:keep] if keep < 400 else data
    judged(name, gzip.compress(data, 1) if name.endswith(".gz") else data, by_itk=True)


@given(edits=byte_edits, cut=st.integers(0, 2000), tail=st.binary(max_size=30))
def gzip_bytes(edits: list[tuple[int, int]], cut: int, tail: bytes) -> None:
    """The compressed bytes change: the scan is read as it was, or refused, never as another."""
    whole = gzip.compress(content(), 1, mtime=0)
    data = edited(whole, edits)[: len(whole) - cut if 0 < cut < len(whole) else None] + tail
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.nii.gz"
        path.write_bytes(data)
        if (volume := read_or_refusal(path)) is not None:
            np.testing.assert_array_equal(volume.array_zyx, intensities(pattern()))


numbers = st.one_of(floats.map(str), st.integers(-2, 12).map(str), st.sampled_from(["", "x", "1e999", "0x10", "٣"]))
triples = st.lists(numbers, min_size=0, max_size=4).map(" ".join)
vectors = st.lists(st.lists(numbers, min_size=2, max_size=4).map(",".join), min_size=1, max_size=4).map(
    lambda rows: " ".join(f"({row})" for row in rows)
)
MHA_FIELDS = {
    "NDims": numbers,
    "DimSize": triples,
    "ElementSpacing": triples,
    "Offset": triples,
    "TransformMatrix": st.lists(numbers, min_size=8, max_size=10).map(" ".join),
    "ElementType": st.sampled_from(["MET_UCHAR", "MET_FLOAT", "MET_DOUBLE", "MET_LONG", "MET_STRING", "", "x"]),
    "BinaryDataByteOrderMSB": st.sampled_from(["True", "False", "", "x"]),
    "CompressedData": st.sampled_from(["True", "False", "", "x"]),
    "BinaryData": st.sampled_from(["True", "False", "", "x"]),
    "ElementNumberOfChannels": numbers,
    "ElementDataFile": st.sampled_from(["LOCAL", "Local", "local", "LIST", "../x.raw", "/dev/zero", "x%03d.raw 1 9 1"]),
}
NRRD_FIELDS = {
    "dimension": numbers,
    "sizes": triples,
    "space_directions": vectors,
    "space_origin": vectors,
    "space": st.sampled_from(["RAS", "LPS", "LAS", "right-anterior-superior", "scanner-xyz", "x"]),
    "type": st.sampled_from(["uchar", "float", "double", "int", "block", "x"]),
    "endian": st.sampled_from(["big", "little", "", "x"]),
    "encoding": st.sampled_from(["raw", "gzip", "gz", "txt", "hex", "bzip2", "x"]),
    "kinds": st.sampled_from(["domain domain domain", "space space space", "vector domain domain", ""]),
    "data_file": st.sampled_from(["x.raw", "LIST", "/dev/zero", "x%03d.raw 1 9 1"]),
    "byte_skip": numbers,
}
Writer = Callable[..., Callable[[Path], Truth]]


def _text(writer: Writer, name: str, changes: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        writer(**changes)(path)
        volume = read_or_refusal(path)
        if volume is not None and not changes.keys() - {"ElementSpacing", "Offset", "space_origin", "endian"}:
            assert_as_itk_reads(path, volume)


@given(changes=st.fixed_dictionaries({}, optional=MHA_FIELDS))
def metaimage_fields(changes: dict[str, str]) -> None:
    """Fields of a MetaImage header take other values; ITK judges only what cannot make it write past its memory."""
    _text(mha, "a.mha", changes)


@given(changes=st.fixed_dictionaries({}, optional=NRRD_FIELDS))
def nrrd_fields(changes: dict[str, str]) -> None:
    """The same for an NRRD header."""
    _text(nrrd, "a.nrrd", changes)


@given(edits=byte_edits, name=st.sampled_from(["a.mha", "a.nrrd"]), cut=st.integers(1, 3000))
def text_bytes(edits: list[tuple[int, int]], name: str, cut: int) -> None:
    """Any bytes of a text header, or of the voxels behind it, change."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        (mha if name.endswith("mha") else nrrd)()(path)
        data = edited(path.read_bytes(), [(at % 300, value) for at, value in edits])[:cut]
    judged(name, data, by_itk=False)


@given(data=st.binary(max_size=400), name=st.sampled_from(["a.nii", "a.nii.gz", "a.mha", "a.nrrd"]))
def any_bytes(data: bytes, name: str) -> None:
    """Bytes that were never an image are none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        try:
            read_volume(path)
        except ImageError:
            return
    raise AssertionError("bytes out of thin air passed for an image")


PROPERTIES = (*(nifti_fields, nifti_bytes, gzip_bytes, metaimage_fields, nrrd_fields, text_bytes, any_bytes),)
