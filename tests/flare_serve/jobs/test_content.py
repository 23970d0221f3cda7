"""What an upload is, by its content."""

import gzip

import pytest

from flare_infer.errors import ImageError
from flare_serve.jobs.content import ending_of

NIFTI = bytes(344) + b"n+1\0"


@pytest.mark.parametrize(
    ("begin", "ending"),
    [
        (gzip.compress(NIFTI, mtime=0), ".nii.gz"),  # with a time in it, the test would have another name each second
        (NIFTI, ".nii"),
        (b"\x5c\x02\0\0n+2\0\r\n\x1a\n", ".nii"),
        (b"NRRD0005\ntype: short\n", ".nrrd"),
        (b"ObjectType = Image\nNDims = 3\n", ".mha"),
        (b"NDims = 3\n", ".mha"),
        (b"PK\3\4", ".zip"),
        (bytes(128) + b"DICM\2\0", ".dcm"),
    ],
)
def test_the_content_says_it(begin: bytes, ending: str) -> None:
    assert ending_of(begin) == ending


@pytest.mark.parametrize("begin", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"%PDF-1.7", bytes(512), b"<html>"])
def test_what_is_no_scan_is_refused_with_what_to_send(begin: bytes) -> None:
    with pytest.raises(ImageError, match="send a CT as NIfTI"):
        ending_of(begin)
