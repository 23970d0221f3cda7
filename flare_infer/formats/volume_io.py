"""Files to volumes and back: with the rooms of the formats, the only one that knows the (x, y, z) order."""

import errno
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the field's own alias

from flare_infer.errors import ImageError, UsageError
from flare_infer.files.write_whole import whole_file
from flare_infer.formats import nifti, sparse_nifti
from flare_infer.formats.doubts import form_doubts, scout_doubts
from flare_infer.formats.foreign import foreign_folder
from flare_infer.formats.itk_image import image_of
from flare_infer.formats.metaimage import read_metaimage
from flare_infer.formats.nifti_placement import ITK_ERRORS, last_line, placement_by_itk, quiet_itk
from flare_infer.formats.nrrd import read_nrrd
from flare_infer.formats.plausible import checked_placement
from flare_infer.formats.voxel_block import check_length, read_block
from flare_infer.geometry import Shape
from flare_infer.volume.volume import Placement, Volume

IMAGE_SUFFIXES: Final = (".nii.gz", ".nii", ".mha", ".nrrd")
"""Endings of the files that are read as images, longest first."""

_CHANNEL_SUFFIX: Final = "_0000"
_LABEL_MAP: Final = re.compile(r"(.+)[_.-](?:labels?|seg|segmentations?)", re.IGNORECASE | re.DOTALL)


def case_name(path: Path) -> str:
    """Name of the case that a file holds: without format ending and without the channel `_0000`."""
    stem = _stem(path)
    return stem.removesuffix(_CHANNEL_SUFFIX) or stem


def is_image_channel(path: Path) -> bool:
    """Whether a file's name says that it is an image, `CASE_0000`, and no label map."""
    return _stem(path).endswith(_CHANNEL_SUFFIX)


def label_map_of(path: Path) -> str | None:
    """Name of the case whose label map a file is by its name: `X_labels`, `X_seg` or the like; None of any other."""
    found = _LABEL_MAP.fullmatch(_stem(path))
    return None if found is None else found[1].removesuffix(_CHANNEL_SUFFIX)


def find_images(folder: Path) -> dict[str, Path]:
    """The image files of a folder by case name, in alphabetical order.

    Raises:
        UsageError: as `image_files` does, and if two files are one case.
    """
    cases: dict[str, Path] = {}
    for path in image_files(folder):
        name = case_name(path)
        if name in cases:
            raise UsageError(f"{folder}: {cases[name].name} and {path.name} are one case, {name}; keep one of them")
        cases[name] = path
    return cases


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder, in alphabetical order.

    Hidden files (among them the `._NAME` companions that macOS leaves) and other endings are passed over.

    Raises:
        UsageError: if the folder is missing, is no folder, cannot be listed, or holds no image.
    """
    try:
        files = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError) as error:
        found = "a file" if folder.exists() else "nothing"
        raise UsageError(
            f"{folder}: expected a folder of images, found {found}; name the folder that holds them"
        ) from error
    except OSError as error:
        raise UsageError(f"{folder}: cannot be listed ({error.strerror}); correct its permissions") from error
    images = [path for path in files if path.name[0] != "." and path.name.lower().endswith(IMAGE_SUFFIXES)]
    if not images:
        what = foreign_folder(folder)
        found = "" if what is None else f": {what}"
        raise UsageError(f"{folder}: no image found{found}; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return images


def read_volume(path: Path) -> Volume:
    """Read a three-dimensional scalar image; intensities keep the type they are stored in, unless they are scaled.

    The place of the volume is what ITK makes of the header, whatever the format, and the array is ITK's, but for values
    that are not numbers, which ITK may turn to 0 and which are kept here. Axes up to half a degree off right angles are
    squared up. Symbolic links are followed; nothing that a file says is used as a path.

    Raises:
        ImageError: if the file is missing, damaged or shorter than its header says, is no image, is not
            three-dimensional, has several components, holds complex numbers, has sheared axes, or says of its place
            what no scanner can have measured.
    """
    if (found := _no_file(path)) is not None:
        raise ImageError(f"{path}: expected an image file, found {found}; put the scan there, or remove it")
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return _read_nifti(path)
    block, stored, doubts = read_nrrd(path) if path.name.lower().endswith(".nrrd") else read_metaimage(path)
    check_length(path, block)
    placement = checked_placement(path, block.lengths, stored)
    doubts = (*doubts, *scout_doubts(block.lengths))
    return Volume(array_zyx=read_block(path, block), placement=placement, doubts=doubts)


def write_volume(path: Path, volume: Volume, when_whole: Callable[[Path], None] = lambda part: None) -> None:
    """Write a volume in the type of its array, atomically: the final name appears only when the file is whole.

    The ending of `path` chooses the format; the file is written under a hidden temporary name beside it, then renamed.
    What a `.nii.gz` holds is byte for byte what ITK writes; only the compression is quicker.

    Args:
        path: the file.
        volume: the volume to write.
        when_whole: callback, called with the whole file under its temporary name, before it is renamed.

    Raises:
        ImageError: if the folder cannot be written to.

    Example:
        A label map on the grid of a scan::

            scan = read_volume(Path("ct.nii.gz"))
            write_volume(Path("labels.nii.gz"), replace(scan, array_zyx=labels_zyx))
    """
    suffix = next((ending for ending in IMAGE_SUFFIXES if path.name.lower().endswith(ending)), ".nii.gz")
    quick = suffix == ".nii.gz" and nifti.can_write(volume.array_zyx)
    with _whole_image(path, ".nii" if quick else suffix) as part:
        if quick:
            header = _header(part, volume.array_zyx.dtype, volume.placement)
            nifti.write_compressed(part, header, volume.array_zyx)
        else:
            _write_by_itk(part, volume.array_zyx, volume.placement)
        when_whole(part)


def write_sparse(
    path: Path, placement: Placement, shape: Shape, planes: Iterable[npt.NDArray[np.uint8] | None]
) -> None:
    """Write a volume of bytes as `.nii.gz`, atomically; planes of zeros cost next to nothing.

    Args:
        path: the file.
        placement: place of the volume.
        shape: number of voxels along (z, y, x).
        planes: each plane (y, x) from the first to the last; None stands for zeros.

    Raises:
        ImageError: if the folder cannot be written to, or an axis is too long for NIfTI-1.
    """
    if max(shape) > nifti.LONGEST_AXIS:
        raise ImageError(
            f"{path}: could not be written: found an axis of {max(shape)} voxels, and NIfTI-1 holds at most "
            f"{nifti.LONGEST_AXIS}; choose another format"
        )
    with _whole_image(path, ".nii") as part:
        sparse_nifti.write_sparse(part, _header(part, np.dtype(np.uint8), placement), shape, planes)


@contextmanager
def _whole_image(path: Path, ending: str) -> Iterator[Path]:
    """Inside, the file to write, which is there; see `whole_file`.

    Raises:
        ImageError: if it cannot be written.
    """
    try:
        with whole_file(path, ending, explained=False) as part:
            try:
                part.touch()
            except OSError as error:
                raise ImageError(
                    f"{path}: cannot write here ({error.strerror}); choose another output folder"
                ) from error
            yield part
    except (*ITK_ERRORS, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            raise ImageError(f"{path}: could not be written: the name is too long; shorten the scan's") from error
        raise ImageError(f"{path}: could not be written ({last_line(error)}); is the disk full?") from error


def _header(part: Path, dtype: np.dtype[Any], placement: Placement) -> bytes:
    """What ITK writes before the voxels; it is asked for that alone, in a file that then becomes the compressed one."""
    _write_by_itk(part, np.zeros((1, 1, 1), dtype.newbyteorder("=")), placement)
    return part.read_bytes()[: nifti.VOXEL_OFFSET]


def _no_file(path: Path) -> str | None:
    """What lies at a path in place of a file; None if it is one."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if not path.is_symlink():
            return "nothing" if error.errno == errno.ENOENT else f"what cannot be looked at ({error.strerror})"
        return "a symbolic link that leads in a circle" if error.errno == errno.ELOOP else "a symbolic link to nothing"
    kinds = {"a folder": stat.S_ISDIR, "a pipe": stat.S_ISFIFO, "a socket": stat.S_ISSOCK, "a file": stat.S_ISREG}
    found = next((name for name, is_kind in kinds.items() if is_kind(mode)), "a device")
    return None if found == "a file" else found


def _read_nifti(path: Path) -> Volume:
    header = nifti.read_header(path)
    nifti.refuse_lies(path, header)
    block = header.block
    check_length(path, block)
    placement = checked_placement(path, block.lengths, placement_by_itk(path, header))
    array_zyx = read_block(path, block)
    if (scaling := header.scaling) is not None:
        array_zyx = _scaled(array_zyx, *scaling)
    doubts = (*form_doubts(header), *scout_doubts(block.lengths))
    return Volume(array_zyx=array_zyx, placement=placement, doubts=doubts)


def _scaled(stored_zyx: npt.NDArray[Any], slope: float, intercept: float) -> npt.NDArray[Any]:
    """True values of stored ones, in the type that ITK gives them, computed in float64 plane by plane."""
    array_zyx = np.empty(stored_zyx.shape, np.float64 if stored_zyx.dtype == np.float64 else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for stored_yx, out_yx in zip(stored_zyx, array_zyx, strict=True):
            out_yx[:] = stored_yx * np.float64(slope) + intercept
    return array_zyx


def _write_by_itk(path: Path, array_zyx: npt.NDArray[Any], placement: Placement) -> None:
    image = image_of(array_zyx, placement)
    with quiet_itk():
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)


def image_ending(path: Path) -> str:
    """The ending of an image's name, as it is written there; empty if it is none of `IMAGE_SUFFIXES`."""
    for suffix in IMAGE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[-len(suffix) :]
    return ""


def _stem(path: Path) -> str:
    return path.name.removesuffix(image_ending(path))
