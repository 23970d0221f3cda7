"""Files that are cut, damaged, or something else than their name says."""

from tests.hostile.kind import Kind
from tests.hostile.nifti_file import altered, content, header, nifti, packed

_PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de")
_DICOM = bytes(128) + b"DICM" + bytes(400)


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


CUT = "the file is cut short"
DAMAGED = "the compressed data is damaged"
OTHER = "not a readable image"

KINDS = (
    Kind(
        file="gzip_cut_0000.nii.gz",
        sentence="gzip, cut in the middle",
        outcome="refused",
        words=CUT,
        write=altered(lambda data: data[: len(data) // 2], of_packed=True),
    ),
    Kind(
        file="gzip_cut_at_end.nii.gz",
        sentence="gzip that lacks its last four bytes",
        outcome="refused",
        words=CUT,
        write=altered(lambda data: data[:-4], of_packed=True),
    ),
    Kind(
        file="gzip_cut_in_header.nii.gz",
        sentence="the first 15 bytes of a gzip file",
        outcome="refused",
        words=CUT,
        write=altered(lambda data: data[:15], of_packed=True),
    ),
    Kind(
        file="gzip_damaged.nii.gz",
        sentence="gzip with a byte changed in the middle",
        outcome="refused",
        words=DAMAGED,
        write=altered(lambda data: _flip(data, len(data) // 2), of_packed=True),
    ),
    Kind(
        file="gzip_checksum.nii.gz",
        sentence="gzip whose checksum is another's",
        outcome="refused",
        words=DAMAGED,
        write=altered(lambda data: _flip(data, len(data) - 6), of_packed=True),
    ),
    Kind(
        file="gzip_garbage_behind.nii.gz",
        sentence="gzip with other bytes behind its end",
        outcome="refused",
        words=DAMAGED,
        write=altered(lambda data: data + b"garbage" * 9, of_packed=True),
    ),
    Kind(
        file="gzip_zeros_behind.nii.gz",
        sentence="gzip padded with zeros, as tapes leave it",
        outcome="segmented",
        write=altered(lambda data: data + bytes(1000), of_packed=True),
    ),
    Kind(
        file="gzip_in_parts.nii.gz",
        sentence="gzip in several parts, one behind the other, as bgzip writes it",
        outcome="segmented",
        write=altered(
            lambda _: b"".join(packed(content()[at : at + 500]) for at in range(0, len(content()), 500)),
            of_packed=True,
        ),
    ),
    Kind(
        file="gzip_bomb.nii.gz",
        sentence="a small scan, and 64 MiB of zeros behind it, in 64 KiB of gzip",
        outcome="segmented",
        write=altered(lambda data: data + bytes(64 * 2**20)),
    ),
    Kind(
        file="gzip_of_nothing.nii.gz",
        sentence="an empty file, gzipped",
        outcome="refused",
        words="found an empty file",
        write=altered(lambda _: b""),
    ),
    Kind(
        file="gzip_twice.nii.gz",
        sentence="a scan that is gzipped twice",
        outcome="refused",
        words=OTHER,
        write=altered(packed),
    ),
    Kind(file="gzip_named_plain.nii", sentence="gzip named .nii", outcome="segmented", write=altered(packed)),
    Kind(
        file="plain_named_gzip.nii.gz",
        sentence="plain NIfTI named .nii.gz",
        outcome="segmented",
        write=altered(lambda _: content(), of_packed=True),
    ),
    Kind(file="UPPER_CASE.NII", sentence="an ending in capitals", outcome="segmented", write=nifti()),
    Kind(file="plain_0000.nii", sentence="plain NIfTI", outcome="segmented", write=nifti()),
    Kind(
        file="plain_cut.nii",
        sentence="plain NIfTI that lacks its last byte",
        outcome="refused",
        words=CUT,
        write=altered(lambda data: data[:-1]),
    ),
    Kind(
        file="plain_garbage_behind.nii",
        sentence="plain NIfTI with other bytes behind its voxels, which the format allows",
        outcome="segmented",
        write=altered(lambda data: data + b"garbage" * 9),
    ),
    Kind(
        file="header_alone.nii",
        sentence="a header without voxels",
        outcome="refused",
        words=CUT,
        write=altered(lambda _: header()),
    ),
    Kind(
        file="header_cut.nii.gz",
        sentence="half a header",
        outcome="refused",
        words=CUT,
        write=altered(lambda data: data[:174]),
    ),
    Kind(
        file="empty.nii.gz",
        sentence="an empty file",
        outcome="refused",
        words="found an empty file",
        write=altered(lambda _: b"", of_packed=True),
    ),
    Kind(
        file="one_byte.nii.gz",
        sentence="a file of one byte",
        outcome="refused",
        words=OTHER,
        write=altered(lambda _: b"\x1f", of_packed=True),
    ),
    Kind(
        file="text.nii.gz",
        sentence="a text",
        outcome="refused",
        words=OTHER,
        write=altered(lambda _: b"this is no image\n" * 40, of_packed=True),
    ),
    Kind(
        file="zeros.nii",
        sentence="nothing but zeros, as a failed copy leaves it",
        outcome="refused",
        words=OTHER,
        write=altered(lambda data: bytes(len(data))),
    ),
    Kind(
        file="png.nii.gz",
        sentence="a PNG picture",
        outcome="refused",
        words=OTHER,
        write=altered(lambda _: _PNG, of_packed=True),
    ),
    Kind(
        file="dicom.nii",
        sentence="a DICOM file",
        outcome="refused",
        words="found DICOM; name it .dcm, and flare-infer predict reads it with its series",
        write=altered(lambda _: _DICOM),
    ),
    Kind(
        file="zip.nii",
        sentence="a ZIP archive",
        outcome="refused",
        words="found an archive; unpack it first",
        write=altered(lambda _: b"PK\3\4" + bytes(400)),
    ),
    Kind(
        file="wrong_magic.nii.gz",
        sentence="NIfTI whose magic word is damaged",
        outcome="refused",
        words="found a header that ends with b'n+7",
        write=nifti(magic=b"n+7\0"),
    ),
    Kind(
        file="pair.nii",
        sentence="the header of a pair of files, .hdr and .img",
        outcome="refused",
        words="found the header of a pair of files",
        write=nifti(magic=b"ni1\0"),
    ),
    Kind(
        file="analyze.nii",
        sentence="an ANALYZE header, which does not tell left from right",
        outcome="refused",
        words="does not tell left from right",
        write=nifti(magic=b"\0\0\0\0"),
    ),
    Kind(
        file="nifti_2.nii.gz",
        sentence="NIfTI-2",
        outcome="refused",
        words="found NIfTI-2",
        write=nifti(sizeof_hdr=540),
    ),
    Kind(
        file="big_endian.nii.gz",
        sentence="NIfTI in big-endian byte order",
        outcome="segmented",
        write=nifti(order=">"),
    ),
    Kind(
        file="extension.nii.gz",
        sentence="NIfTI with an extension between header and voxels",
        outcome="segmented",
        write=altered(
            lambda _: header(vox_offset=384) + b"\1\0\0\0" + b"\x20\0\0\0\6\0\0\0" + bytes(24) + content()[352:]
        ),
    ),
    Kind(
        file="extension_lies.nii.gz",
        sentence="NIfTI that announces an extension of 2 GB where its voxels begin",
        outcome="segmented",
        write=altered(lambda data: data[:348] + b"\1\0\0\0" + data[352:]),
    ),
)
