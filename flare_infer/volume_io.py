"""Files to volumes and back: the only room that knows file formats and ITK's (x, y, z) order."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the field's own alias

from flare_infer.errors import ImageError, UsageError
from flare_infer.volume import Placement, Volume

IMAGE_SUFFIXES: Final = (".nii.gz", ".nii", ".mha", ".nrrd")
"""Endings of the files that are read as images, longest first."""

_CHANNEL_SUFFIX: Final = "_0000"


def case_name(path: Path) -> str:
    """Name of the case that a file holds: without format ending and without the channel `_0000`."""
    return _stem(path).removesuffix(_CHANNEL_SUFFIX)


def is_image_channel(path: Path) -> bool:
    """Whether a file's name says that it is an image, `CASE_0000`, and no label map."""
    return _stem(path).endswith(_CHANNEL_SUFFIX)


def find_images(folder: Path) -> dict[str, Path]:
    """The image files of a folder by case name, in alphabetical order.

    Hidden files (among them the `._NAME` companions that macOS leaves) and other endings are passed over.

    Raises:
        UsageError: if the folder is missing, is no folder, holds no image, or holds two files of one case.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise UsageError(f"{folder}: expected a folder of images, found {found}; name the folder that holds them")
    cases: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.lower().endswith(IMAGE_SUFFIXES):
            continue
        name = case_name(path)
        if name in cases:
            raise UsageError(f"{folder}: {cases[name].name} and {path.name} are one case, {name}; keep one of them")
        cases[name] = path
    if not cases:
        raise UsageError(f"{folder}: no image found; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return cases


def read_volume(path: Path) -> Volume:
    """Read a three-dimensional scalar image; intensities keep the type they are stored in.

    Raises:
        ImageError: if the file is missing, is no image, is not three-dimensional, has several components or holds
            complex numbers.
    """
    if not path.is_file():
        raise ImageError(f"{path}: expected an image file, found {'a folder' if path.is_dir() else 'nothing'}")
    with _quiet_itk():
        image = _read(path)
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        found = (
            f"{image.GetDimension()} dimensions {image.GetSize()}, {image.GetNumberOfComponentsPerPixel()} channel(s)"
        )
        raise ImageError(f"{path}: expected one scalar volume of 3 dimensions, found {found}; extract one volume first")
    array_zyx = sitk.GetArrayFromImage(image)
    if array_zyx.dtype.kind not in "iuf":
        raise ImageError(f"{path}: expected Hounsfield units or codes, found values of type {array_zyx.dtype}")
    return Volume(array_zyx=array_zyx, placement=_placement_of(image))


def write_volume(path: Path, volume: Volume) -> None:
    """Write a volume in the type of its array, atomically: the final name appears only when the file is whole.

    The ending of `path` chooses the format; the file is written under a hidden temporary name beside it, then renamed.

    Raises:
        ImageError: if the folder cannot be written to.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array_zyx))
    _place(image, volume.placement)
    suffix = next((ending for ending in IMAGE_SUFFIXES if path.name.lower().endswith(ending)), ".nii.gz")
    try:
        handle, name = tempfile.mkstemp(prefix=".writing-", suffix=suffix, dir=path.parent)
    except OSError as error:
        raise ImageError(f"{path}: cannot write here ({error.strerror}); choose another output folder") from error
    os.close(handle)
    part = Path(name)
    try:
        with _quiet_itk():
            sitk.WriteImage(image, str(part), useCompression=True, compressionLevel=1)
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except (RuntimeError, OSError) as error:
        raise ImageError(f"{path}: could not be written ({_last_line(error)}); is the disk full?") from error
    finally:
        part.unlink(missing_ok=True)


def _place(image: Any, placement: Placement) -> None:
    """Give an ITK image its place in the patient: axes in reversed order, one direction a column."""
    image.SetSpacing(tuple(reversed(placement.spacing_mm)))
    image.SetOrigin(placement.origin_mm)
    columns = np.asarray(placement.axes, dtype=np.float64)[::-1]
    image.SetDirection(tuple(columns.T.ravel().tolist()))


def _stem(path: Path) -> str:
    for suffix in IMAGE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def _placement_of(image: Any) -> Placement:
    direction = np.asarray(image.GetDirection(), dtype=np.float64).reshape(3, 3)
    z, y, x = direction.T[::-1].tolist()
    spacing = image.GetSpacing()
    origin = image.GetOrigin()
    return Placement(
        spacing_mm=(spacing[2], spacing[1], spacing[0]),
        origin_mm=(origin[0], origin[1], origin[2]),
        axes=(tuple(z), tuple(y), tuple(x)),
    )


def _read(path: Path) -> Any:
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise ImageError(f"{path}: not a readable image ({_last_line(error)})") from error


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _quiet_itk() -> Iterator[None]:
    """ITK prints warnings of its own to the terminal; what matters reaches the user as our errors."""
    itk: Any = sitk.ProcessObject
    before = itk.GetGlobalWarningDisplay()
    itk.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        itk.SetGlobalWarningDisplay(before)
