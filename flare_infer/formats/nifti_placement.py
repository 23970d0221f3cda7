"""Where a NIfTI header puts a volume: ITK decides, of the header alone."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the field's own alias

from flare_infer.errors import ImageError
from flare_infer.formats import nifti
from flare_infer.formats.plausible import refuse_shear, squared_up
from flare_infer.volume.volume import Placement

ITK_ERRORS: Final = (RuntimeError, TypeError, ValueError)
"""What SimpleITK raises, be it over a file or over a name that is no Unicode."""


def placement_by_itk(path: Path, header: nifti.Header) -> Placement:
    """What ITK says of a NIfTI header, after squaring up axes that ITK alone would not accept.

    Raises:
        ImageError: if ITK finds no place in it, or the axes are sheared.
    """
    try:
        return _placement_of(_itk_reader(header, instead=path))
    except ITK_ERRORS as error:
        if "orthonormal" not in str(error):
            raise ImageError(f"{path}: not a readable image ({last_line(error)})") from error
    refuse_shear(path, header.affine)
    try:
        return _placement_of(_itk_reader(header.with_affine(squared_up(header.affine))))
    except ITK_ERRORS as error:
        raise ImageError(f"{path}: not a readable image ({last_line(error)})") from error
    except OSError as error:
        raise ImageError(
            f"{path}: the axes are not quite at right angles, and no folder takes the file that helps "
            f"({error.strerror}); name one as TMPDIR"
        ) from error


def _itk_reader(header: nifti.Header, instead: Path | None = None) -> Any:
    """ITK's reader after it has read a header, in a file of our own: it need not open one that somebody sent.

    Where no folder takes a temporary file, as in a container without one, it reads the header of `instead`.

    Raises:
        OSError: if there is no such folder, and nothing to read instead.
    """
    itk: Any = sitk
    with contextlib.ExitStack() as stack:
        try:
            alone = Path(stack.enter_context(_scratch_folder())) / "header.nii"
            alone.write_bytes(header.raw.ljust(nifti.VOXEL_OFFSET, b"\0"))
        except OSError:
            if instead is None:
                raise
            alone = instead
        stack.enter_context(quiet_itk())
        reader = itk.ImageFileReader()
        reader.SetImageIO("NiftiImageIO")
        reader.SetFileName(str(alone))
        reader.ReadImageInformation()
    return reader


def _scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for a moment; never in the working folder, which may be that of the inputs.

    Raises:
        OSError: if nowhere is room for it.
    """
    failure = OSError(errno.ENOENT, "no folder for temporary files")
    for place in (os.environ.get("TMPDIR", "/tmp"), "/var/tmp", "/dev/shm"):
        try:
            return tempfile.TemporaryDirectory(dir=place)
        except OSError as error:
            failure = error
    raise failure


def _placement_of(image: Any) -> Placement:
    z, y, x = np.asarray(image.GetDirection(), dtype=np.float64).reshape(3, 3).T[::-1].tolist()
    spacing = image.GetSpacing()
    origin = image.GetOrigin()
    return Placement(
        spacing_mm=(spacing[2], spacing[1], spacing[0]),
        origin_mm=(origin[0], origin[1], origin[2]),
        axes=(tuple(z), tuple(y), tuple(x)),
    )


@contextlib.contextmanager
def quiet_itk() -> Iterator[None]:
    """ITK prints warnings of its own to the terminal; what matters reaches the user as our errors."""
    itk: Any = sitk.ProcessObject
    before = itk.GetGlobalWarningDisplay()
    itk.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        itk.SetGlobalWarningDisplay(before)


def last_line(error: Exception) -> str:
    """What matters of an error of ITK, which says first where in its own source it arose."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
