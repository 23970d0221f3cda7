"""What an upload is, by its first bytes: what a sender calls it decides nothing."""

from pathlib import Path
from typing import Final

from flare_infer.errors import ImageError
from flare_infer.formats.foreign import begins_like_dicom

BEGIN_BYTES: Final = 512
"""What of a file has to be looked at."""

ZIP: Final = ".zip"
DICOM: Final = ".dcm"

_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = (b"PK\3\4", b"PK\5\6")
_NRRD: Final = b"NRRD"
_NIFTI_1: Final = (b"n+1\0", b"ni1\0")
_NIFTI_1_AT: Final = 344
_NIFTI_2: Final = (b"n+2\0", b"ni2\0")
_NIFTI_2_AT: Final = 4
_META: Final = (b"ObjectType", b"NDims", b"Comment")

EXPECTED: Final = "a CT as NIfTI (.nii, .nii.gz), MetaImage (.mha), NRRD, DICOM, or a zip of DICOM files"


def ending_of(begin: bytes) -> str:
    """The ending that a file of this beginning should have.

    Args:
        begin: its first `BEGIN_BYTES` bytes, or all.

    Raises:
        ImageError: if it is nothing that can be segmented.
    """
    if not begin:
        raise ImageError(f"the upload is empty; send {EXPECTED}")
    if begins_like_dicom(begin):
        return DICOM
    kinds = {
        ".nii.gz": begin.startswith(_GZIP),
        ZIP: begin.startswith(_ZIP),
        ".nrrd": begin.startswith(_NRRD),
        ".nii": begin.startswith(_NIFTI_1, _NIFTI_1_AT) or begin.startswith(_NIFTI_2, _NIFTI_2_AT),
        ".mha": begin.lstrip().startswith(_META),
    }
    ending = next((ending for ending, found in kinds.items() if found), "")
    if not ending:
        raise ImageError(f"the upload is no scan; send {EXPECTED}")
    return ending


def ending_of_file(path: Path) -> str:
    """The ending that a file should have.

    Raises:
        ImageError: if it is nothing that can be segmented, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return ending_of(file.read(BEGIN_BYTES))
    except OSError as error:
        raise ImageError(f"the upload cannot be read ({error.strerror}); send it again") from error
