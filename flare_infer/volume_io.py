"""Files to volumes and back: with `nifti`, the only room that knows file formats and the (x, y, z) order."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the field's own alias

from flare_infer import nifti
from flare_infer.errors import ImageError, UsageError
from flare_infer.orthonormal import MOST_REPAIRED_DEG, shear_deg, squared_up
from flare_infer.volume import Placement, Volume

IMAGE_SUFFIXES: Final = (".nii.gz", ".nii", ".mha", ".nrrd")
"""Endings of the files that are read as images, longest first."""

_CHANNEL_SUFFIX: Final = "_0000"

PART_PREFIX: Final = ".writing-"
"""What the names of files begin with that are not yet whole."""

_PIXEL_TYPES: Final = {
    **{"i1": sitk.sitkInt8, "i2": sitk.sitkInt16, "i4": sitk.sitkInt32, "i8": sitk.sitkInt64},
    **{"u1": sitk.sitkUInt8, "u2": sitk.sitkUInt16, "u4": sitk.sitkUInt32, "u8": sitk.sitkUInt64},
    **{"f4": sitk.sitkFloat32, "f8": sitk.sitkFloat64},
}
"""ITK's numbers for NumPy's types."""

_ROUNDING_DEG: Final = 0.01
"""Shear that ITK itself lets pass as rounding, about; it is left as it is."""


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

    The place of the volume is what ITK makes of the header, whatever the format. The voxels of a NIfTI file are read by
    `nifti` where they are stored plainly, by ITK otherwise; both give the same array, but for values that are not
    numbers, which ITK turns to 0 and `nifti` keeps. Axes up to half a degree off right angles are squared up.

    Raises:
        ImageError: if the file is missing, damaged or shorter than its header says, is no image, is not
            three-dimensional, has several components, holds complex numbers, or has sheared axes.
    """
    if not path.is_file():
        raise ImageError(f"{path}: expected an image file, found {'a folder' if path.is_dir() else 'nothing'}")
    header = nifti.read_header(path) if path.name.lower().endswith((".nii", ".nii.gz")) else None
    with _quiet_itk():
        if header is not None:
            nifti.check_length(path, header)
            information = _information(path, header)
            if header.is_plain and _agree(information, header):
                placement = _placement_of(path, information)
                return Volume(array_zyx=nifti.read_voxels(path, header), placement=placement)
        return _read_by_itk(path)


def write_volume(path: Path, volume: Volume, when_whole: Callable[[Path], None] = lambda part: None) -> None:
    """Write a volume in the type of its array, atomically: the final name appears only when the file is whole.

    The ending of `path` chooses the format; the file is written under a hidden temporary name beside it, then renamed.
    What a `.nii.gz` holds is byte for byte what ITK writes; only the compression is quicker.

    Args:
        path: the file.
        volume: what it shall hold.
        when_whole: called with the whole file under its temporary name, before it is renamed.

    Raises:
        ImageError: if the folder cannot be written to.
    """
    suffix = next((ending for ending in IMAGE_SUFFIXES if path.name.lower().endswith(ending)), ".nii.gz")
    quick = suffix == ".nii.gz" and nifti.can_write(volume.array_zyx)
    try:
        # ITK is asked for the header alone, in a file that then becomes the compressed one.
        handle, name = tempfile.mkstemp(prefix=PART_PREFIX, suffix=".nii" if quick else suffix, dir=path.parent)
    except OSError as error:
        raise ImageError(f"{path}: cannot write here ({error.strerror}); choose another output folder") from error
    os.close(handle)
    part = Path(name)
    try:
        if quick:
            _write_by_itk(part, np.zeros((1, 1, 1), volume.array_zyx.dtype.newbyteorder("=")), volume.placement)
            header = part.read_bytes()[: nifti.VOXEL_OFFSET]
            nifti.write_compressed(part, header, volume.array_zyx)
        else:
            _write_by_itk(part, volume.array_zyx, volume.placement)
        part.chmod(0o666 & ~_umask())
        when_whole(part)
        part.replace(path)
    except (RuntimeError, OSError) as error:
        raise ImageError(f"{path}: could not be written ({_last_line(error)}); is the disk full?") from error
    finally:
        part.unlink(missing_ok=True)


def _information(path: Path, header: nifti.Header) -> Any:
    """What ITK says of a NIfTI file by its header, after squaring up axes that ITK alone would not accept."""
    try:
        return _itk_header(path)
    except RuntimeError as error:
        if "orthonormal" not in str(error):
            nifti.check_checksum(path, header)
            raise ImageError(f"{path}: not a readable image ({_last_line(error)})") from error
    _refuse_shear(path, header.affine)
    if not header.is_plain:
        raise ImageError(
            f"{path}: the axes are not at right angles, and scaled values cannot be read then; store Hounsfield units "
            "themselves, or square up the axes in the header"
        )
    with tempfile.TemporaryDirectory() as folder:
        repaired = Path(folder) / "header.nii"
        repaired.write_bytes(header.with_affine(squared_up(header.affine)).ljust(nifti.VOXEL_OFFSET, b"\0"))
        try:
            return _itk_header(repaired)
        except RuntimeError as error:
            raise ImageError(f"{path}: not a readable image ({_last_line(error)})") from error


def _itk_header(path: Path) -> Any:
    itk: Any = sitk
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def _agree(information: Any, header: nifti.Header) -> bool:
    """Whether ITK would give an array of the same shape and type."""
    dtype = header.dtype
    return (
        dtype is not None
        and information.GetNumberOfComponents() == 1
        and information.GetSize() == header.lengths
        and information.GetPixelIDValue() == _PIXEL_TYPES.get(dtype.str[1:])
    )


def _read_by_itk(path: Path) -> Volume:
    itk: Any = sitk
    try:
        image = itk.ReadImage(str(path))
    except RuntimeError as error:
        raise ImageError(f"{path}: not a readable image ({_last_line(error)})") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        found = (
            f"{image.GetDimension()} dimensions {image.GetSize()}, {image.GetNumberOfComponentsPerPixel()} channel(s)"
        )
        raise ImageError(f"{path}: expected one scalar volume of 3 dimensions, found {found}; extract one volume first")
    array_zyx = sitk.GetArrayFromImage(image)
    if array_zyx.dtype.kind not in "iuf":
        raise ImageError(f"{path}: expected Hounsfield units or codes, found values of type {array_zyx.dtype}")
    return Volume(array_zyx=array_zyx, placement=_placement_of(path, image))


def _write_by_itk(path: Path, array_zyx: npt.NDArray[Any], placement: Placement) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array_zyx))
    _place(image, placement)
    with _quiet_itk():
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)


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


def _placement_of(path: Path, image: Any) -> Placement:
    direction = np.asarray(image.GetDirection(), dtype=np.float64).reshape(3, 3)
    if shear_deg(direction) > _ROUNDING_DEG:
        _refuse_shear(path, direction)
        direction = squared_up(direction)
    z, y, x = direction.T[::-1].tolist()
    spacing = image.GetSpacing()
    origin = image.GetOrigin()
    return Placement(
        spacing_mm=(spacing[2], spacing[1], spacing[0]),
        origin_mm=(origin[0], origin[1], origin[2]),
        axes=(tuple(z), tuple(y), tuple(x)),
    )


def _refuse_shear(path: Path, columns: npt.NDArray[np.float64]) -> None:
    if (found := shear_deg(columns)) > MOST_REPAIRED_DEG:
        raise ImageError(
            f"{path}: the axes miss right angles by {found:.2g} degrees (a tilted gantry?), and at most "
            f"{MOST_REPAIRED_DEG} can be taken for rounding; resample the scan to a grid with right angles first"
        )


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
