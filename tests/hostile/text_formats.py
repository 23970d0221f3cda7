"""MetaImage and NRRD: text headers that name other files, claim too much data, or make no sense."""

import gzip
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tests.hostile.kind import Kind, Truth, intensities, pattern

CUT = "the file is cut short"
ELSEWHERE = "the voxels lie in another file"
_VOXELS = intensities(pattern()).tobytes()


def mha(*, voxels: bytes = _VOXELS, cut: int | None = None, **changes: str) -> Callable[[Path], Truth]:
    """A writer of a MetaImage with fields changed; a field given as "" is left out, one voxel block follows."""
    fields = {
        **{"ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False"},
        **{"CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "-30 20 -700"},
        **{"ElementSpacing": "1.5 2 3", "DimSize": "11 13 7", "ElementType": "MET_SHORT"},
        **changes,
    }
    fields["ElementDataFile"] = fields.pop("ElementDataFile", "LOCAL")  # always the last

    def write(path: Path) -> Truth:
        text = "".join(f"{key} = {value}\n" for key, value in fields.items() if value)
        path.write_bytes((text.encode() + voxels)[:cut])
        return Truth(bright_zyx=pattern())

    return write


def nrrd(
    *, voxels: bytes = _VOXELS, cut: int | None = None, noted: Mapping[str, str] | None = None, **changes: str
) -> Callable[[Path], Truth]:
    """The same for an NRRD; underscores in names stand for blanks, but not in those of what else is `noted`."""
    fields = {
        **{"type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "11 13 7"},
        **{"space_directions": "(1.5,0,0) (0,2,0) (0,0,3)", "kinds": "domain domain domain", "endian": "little"},
        **{"encoding": "raw", "space_origin": "(-30,20,-700)"},
    } | changes

    def write(path: Path) -> Truth:
        text = "".join(f"{key.replace('_', ' ')}: {value}\n" for key, value in fields.items() if value)
        text += "".join(f"{key}:={value}\n" for key, value in (noted or {}).items())
        path.write_bytes((b"NRRD0004\n# a comment\n" + text.encode() + b"\n" + voxels)[:cut])
        return Truth(bright_zyx=pattern())

    return write


def _flat(write: Callable[[Path], Truth]) -> Callable[[Path], Truth]:
    """The same of a file that SimpleITK reads with a fourth axis: the geometry is that of the first three."""

    def written(path: Path) -> Truth:
        axes = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
        return replace(write(path), geometry=((11, 13, 7), (1.5, 2.0, 3.0), (-30.0, 20.0, -700.0), axes))

    return written


_TAGS = {f"0010_{number:04}": "the value of a tag " * 20 for number in range(400)}
"""Those of DICOM, 150 KB of them."""

_FOREVER = {f"0010_{number:04}": "x" * 1000 for number in range(17000)}
_UNEQUAL = {"ITK_non_uniform_sampling_deviation": "1.25"}
_UNEQUAL_WORDS = "the slices are not equally spaced: up to 1.25 mm off"
_TOO_LONG = "a header of more than 16 MiB"

_GZIPPED = gzip.compress(_VOXELS, mtime=0)
_ZLIB = zlib.compress(_VOXELS)
_TILTED = "1 0 0 0.2 1 0 0 0 1"

_MHA = (
    Kind(file="meta.mha", sentence="MetaImage", outcome="segmented", write=mha()),
    Kind(
        file="meta_compressed.mha",
        sentence="MetaImage, compressed",
        outcome="segmented",
        write=mha(CompressedData="True", CompressedDataSize=str(len(_ZLIB)), voxels=_ZLIB),
    ),
    Kind(
        file="meta_cut.mha",
        sentence="MetaImage that lacks its last bytes",
        outcome="refused",
        words=CUT,
        write=mha(cut=-9),
    ),
    Kind(
        file="meta_compressed_cut.mha",
        sentence="compressed MetaImage that lacks its last bytes",
        outcome="refused",
        words=CUT,
        write=mha(CompressedData="True", voxels=_ZLIB, cut=-9),
    ),
    Kind(
        file="meta_damaged.mha",
        sentence="compressed MetaImage with bytes changed",
        outcome="refused",
        words="the compressed data is damaged",
        write=mha(CompressedData="True", voxels=_ZLIB[:40] + b"\xff" * 8 + _ZLIB[48:]),
    ),
    Kind(
        file="meta_not_compressed.mha",
        sentence="MetaImage whose voxels are not compressed, though its header says so",
        outcome="refused",
        words="the compressed data is damaged",
        write=mha(CompressedData="True"),
    ),
    Kind(
        file="meta_detached.mha",
        sentence="MetaImage whose voxels are said to lie in another file",
        outcome="refused",
        words=ELSEWHERE + " ('../secret.raw')",
        write=mha(ElementDataFile="../secret.raw"),
    ),
    Kind(
        file="meta_list.mha",
        sentence="MetaImage whose voxels are said to lie in a list of files",
        outcome="refused",
        words=ELSEWHERE,
        write=mha(ElementDataFile="LIST"),
    ),
    Kind(
        file="meta_99_axes.mha",
        sentence="MetaImage of 99 axes (ITK's own reader writes past its memory)",
        outcome="refused",
        words="found 99 dimensions",
        write=mha(NDims="99"),
    ),
    Kind(
        file="meta_terabytes.mha",
        sentence="MetaImage that promises terabytes",
        outcome="refused",
        words=CUT,
        write=mha(DimSize="99999 99999 99999", ElementSpacing="0.1 0.1 0.1"),
    ),
    Kind(
        file="meta_terabytes_compressed.mha",
        sentence="the same, compressed",
        outcome="refused",
        words=CUT,
        write=mha(DimSize="99999 99999 99999", ElementSpacing="0.1 0.1 0.1", CompressedData="True", voxels=_ZLIB),
    ),
    Kind(
        file="meta_4d.mha",
        sentence="MetaImage with several frames",
        outcome="refused",
        words="found 4 dimensions",
        write=mha(NDims="4", DimSize="11 13 1 7"),
    ),
    Kind(
        file="meta_one_frame.mha",
        sentence="MetaImage of four axes, with one frame",
        outcome="segmented",
        write=_flat(
            mha(
                NDims="4",
                DimSize="11 13 7 1",
                ElementSpacing="1.5 2 3 1",
                Offset="-30 20 -700 0",
                TransformMatrix="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
            )
        ),
    ),
    Kind(
        file="meta_tags.mha",
        sentence="MetaImage with 150 KB of DICOM tags in its header",
        outcome="segmented",
        write=mha(**_TAGS),
    ),
    Kind(
        file="meta_bomb.mha",
        sentence="MetaImage with a header of 17 MiB",
        outcome="refused",
        words=_TOO_LONG,
        write=mha(**_FOREVER),
    ),
    Kind(
        file="meta_unequal.mha",
        sentence="MetaImage of slices that were not equally spaced, as ITK notes in it",
        outcome="segmented",
        words=_UNEQUAL_WORDS,
        write=mha(**_UNEQUAL),
    ),
    Kind(
        file="meta_rgb.mha",
        sentence="MetaImage in colors",
        outcome="refused",
        words="found 3 channels",
        write=mha(ElementNumberOfChannels="3"),
    ),
    Kind(
        file="meta_type.mha",
        sentence="MetaImage of a type that there is not",
        outcome="refused",
        words="found MET_QUATERNION",
        write=mha(ElementType="MET_QUATERNION"),
    ),
    Kind(
        file="meta_sizes.mha",
        sentence="MetaImage with a length too few",
        outcome="refused",
        words="expected 3 numbers as DimSize, found '11 13'",
        write=mha(DimSize="11 13"),
    ),
    Kind(
        file="meta_spacing_zero.mha",
        sentence="MetaImage with a spacing of zero",
        outcome="refused",
        words="found 1.5 x 0 x 3 mm",
        write=mha(ElementSpacing="1.5 0 3"),
    ),
    Kind(
        file="meta_spacing_nan.mha",
        sentence="MetaImage with a spacing that is no number",
        outcome="refused",
        words="found nan x 2 x 3 mm",
        write=mha(ElementSpacing="nan 2 3"),
    ),
    Kind(
        file="meta_sheared.mha",
        sentence="MetaImage with axes 11 degrees off right angles",
        outcome="refused",
        words="the axes miss right angles by 11 degrees",
        write=mha(TransformMatrix=_TILTED),
    ),
    Kind(
        file="meta_axes_nan.mha",
        sentence="MetaImage with axes that are no numbers",
        outcome="refused",
        words="an axis has no direction",
        write=mha(TransformMatrix="1 0 0 0 nan 0 0 0 1"),
    ),
    Kind(
        file="meta_dust.mha",
        sentence="MetaImage with axes that are off by 1e-310",
        outcome="segmented",
        write=mha(TransformMatrix="1 1e-310 -1e-320 3e-315 1 1e-200 5e-324 0 1"),
    ),
    Kind(
        file="meta_ascii.mha",
        sentence="MetaImage whose voxels are text",
        outcome="refused",
        words="expected BinaryData = True, found 'False'",
        write=mha(BinaryData="False"),
    ),
    Kind(
        file="meta_no_end.mha",
        sentence="MetaImage whose header has no end",
        outcome="refused",
        words="not a readable image",
        write=mha(ElementDataFile="", voxels=b"Comment = long\n" * 9000),
    ),
    Kind(
        file="meta_empty.mha",
        sentence="an empty MetaImage",
        outcome="refused",
        words="found an empty file",
        write=mha(cut=0),
    ),
)

_NRRD = (
    Kind(file="nrrd.nrrd", sentence="NRRD", outcome="segmented", write=nrrd()),
    Kind(
        file="nrrd_compressed.nrrd",
        sentence="NRRD, compressed",
        outcome="segmented",
        write=nrrd(encoding="gzip", voxels=_GZIPPED),
    ),
    Kind(
        file="nrrd_ras.nrrd",
        sentence="NRRD whose space is right, anterior, superior",
        outcome="segmented",
        write=nrrd(space="right-anterior-superior"),
    ),
    Kind(
        file="nrrd_cut.nrrd",
        sentence="NRRD that lacks its last bytes",
        outcome="refused",
        words=CUT,
        write=nrrd(cut=-9),
    ),
    Kind(
        file="nrrd_compressed_cut.nrrd",
        sentence="compressed NRRD that lacks its last bytes",
        outcome="refused",
        words=CUT,
        write=nrrd(encoding="gzip", voxels=_GZIPPED, cut=-9),
    ),
    Kind(
        file="nrrd_damaged.nrrd",
        sentence="compressed NRRD with bytes changed",
        outcome="refused",
        words="the compressed data is damaged",
        write=nrrd(encoding="gzip", voxels=_GZIPPED[:40] + b"\xff" * 8 + _GZIPPED[48:]),
    ),
    Kind(
        file="nrrd_detached.nrrd",
        sentence="NRRD whose voxels are said to lie in another file",
        outcome="refused",
        words=ELSEWHERE + " ('/etc/passwd')",
        write=nrrd(data_file="/etc/passwd"),
    ),
    Kind(
        file="nrrd_terabytes.nrrd",
        sentence="NRRD that promises terabytes",
        outcome="refused",
        words=CUT,
        write=nrrd(sizes="99999 99999 99999", space_directions="(.1,0,0) (0,.1,0) (0,0,.1)"),
    ),
    Kind(
        file="nrrd_4d.nrrd",
        sentence="NRRD with several frames",
        outcome="refused",
        words="found 4 dimensions (11 13 1 7)",
        write=nrrd(dimension="4", sizes="11 13 1 7"),
    ),
    Kind(
        file="nrrd_one_frame.nrrd",
        sentence="NRRD of four axes, with one frame",
        outcome="segmented",
        write=_flat(
            nrrd(
                dimension="4",
                sizes="11 13 7 1",
                space_directions="(1.5,0,0) (0,2,0) (0,0,3) none",
                kinds="domain domain domain list",
            )
        ),
    ),
    Kind(
        file="nrrd_tags.nrrd",
        sentence="NRRD with 150 KB of DICOM tags in its header",
        outcome="segmented",
        write=nrrd(noted=_TAGS),
    ),
    Kind(
        file="nrrd_bomb.nrrd",
        sentence="NRRD with a header of 17 MiB",
        outcome="refused",
        words=_TOO_LONG,
        write=nrrd(**_FOREVER),
    ),
    Kind(
        file="nrrd_unequal.nrrd",
        sentence="NRRD of slices that were not equally spaced, as ITK notes in it",
        outcome="segmented",
        words=_UNEQUAL_WORDS,
        write=nrrd(noted=_UNEQUAL),
    ),
    Kind(
        file="nrrd_vectors.nrrd",
        sentence="NRRD of vectors",
        outcome="refused",
        words="found the kinds vector domain domain",
        write=nrrd(kinds="vector domain domain"),
    ),
    Kind(
        file="nrrd_encoding.nrrd",
        sentence="NRRD in an encoding that there is not",
        outcome="refused",
        words="the encoding 'morse' is not read",
        write=nrrd(encoding="morse"),
    ),
    Kind(
        file="nrrd_skip.nrrd",
        sentence="NRRD that wants bytes to be skipped",
        outcome="refused",
        words="a file with the field 'byte skip' (-1) is not read",
        write=nrrd(byte_skip="-1"),
    ),
    Kind(
        file="nrrd_spacing_negative.nrrd",
        sentence="NRRD with a negative spacing",
        outcome="refused",
        words="found -1.5 x 2 x 3 mm",
        write=nrrd(space="", space_directions="", space_origin="", spacings="-1.5 2 3"),
    ),
    Kind(
        file="nrrd_axes_nan.nrrd",
        sentence="NRRD with axes that are no numbers",
        outcome="refused",
        words="found nan x 2 x 3 mm",
        write=nrrd(space_directions="(nan,0,0) (0,2,0) (0,0,3)"),
    ),
    Kind(
        file="nrrd_axis_missing.nrrd",
        sentence="NRRD with an axis without direction",
        outcome="refused",
        words="expected 3 vector(s) as space directions",
        write=nrrd(space_directions="none (0,2,0) (0,0,3)"),
    ),
    Kind(
        file="nrrd_sheared.nrrd",
        sentence="NRRD with axes 11 degrees off right angles",
        outcome="refused",
        words="the axes miss right angles by 11 degrees",
        write=nrrd(space_directions="(1.5,0,0) (0.4,2,0) (0,0,3)"),
    ),
)

KINDS = _MHA + _NRRD
