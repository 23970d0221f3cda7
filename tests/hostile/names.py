"""Names that are too long or strange, other files beside scans, and paths that are not files."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from tests.hostile.kind import Kind, Truth, pattern
from tests.hostile.nifti_file import altered, nifti, nifti_of
from tests.hostile.text_formats import mha

_LONG = "longest_name_" + "x" * 240


def _text(path: Path) -> None:
    path.write_text("no image\n")


def _twins(path: Path) -> None:
    """Two files of one case: `twins.nii.gz` and `twins_0000.nii.gz`."""
    nifti()(path)
    nifti()(path.with_name("twins_0000.nii.gz"))


def _link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _link_out(path: Path) -> Truth:
    """A link to a scan beside the folder of inputs."""
    elsewhere = path.parent.parent / "elsewhere.nii.gz"
    path.symlink_to(elsewhere)
    return nifti()(elsewhere)


def _forbidden(path: Path) -> Truth:
    truth = nifti()(path)
    path.chmod(0)
    return truth


def _socket(path: Path) -> None:
    # A socket's path may be a hundred bytes long at most: it is made by its name alone.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)


def _segmented(file: str, sentence: str, display: str = "") -> Kind:
    return Kind(file=file, sentence=sentence, outcome="segmented", write=nifti(), display=display)


def _left_out(file: str, sentence: str) -> Kind:
    """A label map beside a scan."""
    return Kind(
        file=file,
        sentence=sentence,
        outcome="passed over",
        words="left out 3 label map(s) beside their scans",
        write=nifti_of(pattern().astype("u1"), pattern()),
    )


def _passed_over(file: str, sentence: str, write: Callable[[Path], Truth | None] = _text) -> Kind:
    return Kind(file=file, sentence=sentence, outcome="passed over", write=write)


NAMES = (
    Kind(
        file="twins.nii.gz",
        sentence="two files of one case, `twins.nii.gz` and `twins_0000.nii.gz`: neither is taken",
        outcome="refused",
        words="and twins_0000.nii.gz are one case, twins; keep one of them",
        write=_twins,
    ),
    _segmented("name with  blanks .nii.gz", "blanks"),
    _segmented("Bauch-CT_Müller_腹部_🫁.nii.gz", "Unicode"),
    _segmented("-rf.nii.gz", "a name like an option"),
    _segmented("[red]50%s{0}$HOME'\";&.nii.gz", "signs that shells and formatters know"),
    _segmented("two\nlines.nii.gz", "a line break", "two\\nlines.nii.gz"),
    _segmented("escape_\x1b[31m.nii.gz", "a terminal's escape sequence", "escape_\\x1b[31m.nii.gz"),
    _segmented(os.fsdecode(b"latin_\xfc.nii.gz"), "bytes that are no Unicode", "latin_\\xfc.nii.gz"),
    _segmented("a.b.c.d_0000_0000.nii.gz", "dots, and `_0000` twice"),
    _segmented(_LONG[: 255 - 7] + ".nii.gz", "255 characters", "longest_name_xx...x.nii.gz"),
    Kind(
        file="too_" + _LONG[: 255 - 8] + ".mha",
        sentence="255 characters whose label map would need more",
        outcome="refused",
        words="the name is too long",
        write=mha(),
        display="too_longest_name_xx...x.mha",
    ),
    _segmented("_0000.nii.gz", "a channel alone, which is then the name"),
    _left_out("good_labels.nii.gz", "the label map of the scan `good_0000.nii.gz`, by its name"),
    _left_out("analyze_seg.nii.gz", "the label map of the scan `analyze.nii`, by its name"),
    _left_out("good.nii.gz", "a file with the name of the scan `good_0000.nii.gz`, but of nothing but labels"),
    _passed_over("._scan_0000.nii.gz", "a companion that macOS leaves"),
    _passed_over(".hidden.nii.gz", "a hidden file", nifti()),
    _passed_over("notes.txt", "notes beside scans"),
    _passed_over("scan.nii.gz.part", "an unfinished download"),
    _passed_over("scan.mhd", "a MetaImage header whose voxels lie in another file", mha(ElementDataFile="scan.raw")),
    _passed_over("scans.zip", "an archive of scans"),
    _passed_over("slice.dcm", "a DICOM file with its own ending"),
    _passed_over("pair.hdr", "a NIfTI header whose voxels lie in another file", altered(lambda data: data[:348])),
    _passed_over("deeper", "a folder", lambda path: path.mkdir()),
)

FILE_SYSTEM = (
    Kind(
        file="folder.nii.gz",
        sentence="a folder with the name of a scan",
        outcome="refused",
        words="expected an image file, found a folder",
        write=lambda path: path.mkdir(),
    ),
    Kind(
        file="link_to_nothing.nii.gz",
        sentence="a symbolic link to nothing",
        outcome="refused",
        words="expected an image file, found a symbolic link to nothing",
        write=_link_to("missing.nii.gz"),
    ),
    Kind(
        file="link_in_a_circle.nii.gz",
        sentence="a symbolic link to itself",
        outcome="refused",
        words="expected an image file, found a symbolic link that leads in a circle",
        write=_link_to("link_in_a_circle.nii.gz"),
    ),
    Kind(
        file="link_to_folder.nii.gz",
        sentence="a symbolic link to a folder",
        outcome="refused",
        words="expected an image file, found a folder",
        write=_link_to("."),
    ),
    Kind(
        file="link_to_device.nii.gz",
        sentence="a symbolic link to a device that never ends",
        outcome="refused",
        words="expected an image file, found a device",
        write=_link_to("/dev/zero"),
    ),
    Kind(
        file="link_out_of_the_folder.nii.gz",
        sentence="a symbolic link to a scan outside of the folder: links are followed",
        outcome="segmented",
        write=_link_out,
    ),
    Kind(
        file="pipe.nii.gz",
        sentence="a pipe (FIFO) that nobody writes to",
        outcome="refused",
        words="expected an image file, found a pipe",
        write=os.mkfifo,
    ),
    Kind(
        file="socket.nii.gz",
        sentence="a socket",
        outcome="refused",
        words="expected an image file, found a socket",
        write=_socket,
    ),
    Kind(
        file="forbidden.nii.gz",
        sentence="a scan without permission to read it",
        outcome="refused",
        words="cannot be read (Permission denied)",
        write=_forbidden,
    ),
    Kind(
        file="growing.nii.gz",
        sentence="a scan that is still being copied",
        outcome="refused",
        words="the file is cut short",
        write=altered(lambda data: data[:400], of_packed=True),
    ),
)

GROWING = "growing.nii.gz"
"""Of this file one more byte arrives every few milliseconds; it is never whole while the command runs."""

FORBIDDEN = "forbidden.nii.gz"

KINDS = NAMES + FILE_SYSTEM
