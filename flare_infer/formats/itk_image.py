"""Volumes to images of SimpleITK and back: an image's spacing, origin and direction are in the order (x, y, z)."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the field's own alias

from flare_infer.errors import ImageError
from flare_infer.formats.doubts import scout_doubts
from flare_infer.formats.plausible import checked_placement
from flare_infer.geometry import triple_of_floats
from flare_infer.volume.volume import Placement, Volume

_DUST: Final = 1e-100
_SAME_LENGTH: Final = 1e-3
"""By how much the length of a direction may miss 1: the rounding of a header."""


def image_of(array_zyx: npt.NDArray[Any], placement: Placement) -> sitk.Image:
    """An array (z, y, x) with its place in the patient, as an image that owns a copy of the voxels."""
    image: Any = sitk.GetImageFromArray(np.ascontiguousarray(array_zyx))
    image.SetSpacing(tuple(reversed(placement.spacing_mm)))
    image.SetOrigin(placement.origin_mm)
    rows = np.asarray(placement.axes, dtype=np.float64)[::-1]
    # Of numbers whose squares are zero ITK's decomposition of matrices complains on the terminal.
    rows = rows * (np.abs(rows) >= _DUST)  # a zero keeps its sign, which the header shows
    image.SetDirection(tuple(rows.T.ravel().tolist()))
    made: sitk.Image = image
    return made


def volume_of_image(image: sitk.Image, name: str) -> Volume:
    """The volume that an image holds, as a copy of its voxels.

    Args:
        image: three-dimensional, with one number a voxel.
        name: what the image is, for errors.

    Raises:
        ImageError: if it is not, or no scanner can have measured what it says of its place.
    """
    asked: Any = image
    if (dimensions := asked.GetDimension()) != 3:
        raise ImageError(f"{name}: expected a three-dimensional image, found {dimensions} dimensions")
    if (components := asked.GetNumberOfComponentsPerPixel()) != 1:
        raise ImageError(f"{name}: expected one number a voxel, found {components} components")
    if asked.GetPixelID() in {sitk.sitkComplexFloat32, sitk.sitkComplexFloat64}:
        raise ImageError(f"{name}: expected real numbers, found complex ones")
    array_zyx = sitk.GetArrayFromImage(image)
    place = placement_xyz(name, asked.GetSpacing(), asked.GetOrigin(), asked.GetDirection())
    return placed(array_zyx, place, name)


def placement_xyz(name: str, spacing: npt.ArrayLike, origin: npt.ArrayLike, direction: npt.ArrayLike) -> Placement:
    """A placement from SimpleITK's three properties.

    Args:
        name: what has them, for errors.
        spacing: distance between voxel centers along (x, y, z), in mm.
        origin: patient coordinates LPS of the center of the first voxel, in mm.
        direction: 3 x 3 numbers, or nine row by row; the columns are the unit vectors along x, y and z.

    Raises:
        ImageError: if numbers are missing, not finite, or not positive where they must be, or a direction is none.
    """
    steps, corner = _numbers(name, "spacing", spacing, 3), _numbers(name, "origin", origin, 3)
    columns = _numbers(name, "direction", direction, 9).reshape(3, 3)
    if not (steps > 0).all():
        raise ImageError(f"{name}: expected a spacing above 0 mm along (x, y, z), found {_listed(steps)}")
    if not np.allclose(np.linalg.norm(columns, axis=0), 1, rtol=0, atol=_SAME_LENGTH):
        raise ImageError(
            f"{name}: expected unit vectors as the columns of the direction, found {_listed(columns.ravel())}; it is "
            "the matrix that SimpleITK gives, without the spacing"
        )
    z, y, x = columns.T[::-1]
    return Placement(
        spacing_mm=triple_of_floats(steps[::-1].tolist()),
        origin_mm=triple_of_floats(corner.tolist()),
        axes=(triple_of_floats(z.tolist()), triple_of_floats(y.tolist()), triple_of_floats(x.tolist())),
    )


def placed(array_zyx: npt.NDArray[Any], placement: Placement, name: str) -> Volume:
    """A volume, after a look at whether a scanner can have measured it.

    Raises:
        ImageError: if not; `name` names it.
    """
    depth, rows, columns = array_zyx.shape
    lengths = (columns, rows, depth)
    checked = checked_placement(Path(name), lengths, placement)
    return Volume(array_zyx=array_zyx, placement=checked, doubts=scout_doubts(lengths))


def _numbers(name: str, what: str, values: npt.ArrayLike, count: int) -> npt.NDArray[np.float64]:
    try:
        found = np.asarray(values, dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise ImageError(f"{name}: expected {count} numbers as {what}, found {values!r}") from error
    if found.size != count or not np.isfinite(found).all():
        raise ImageError(f"{name}: expected {count} finite numbers as {what}, found {_listed(found)}")
    return found


def _listed(values: npt.NDArray[np.float64]) -> str:
    return f"({', '.join(f'{value:g}' for value in values.tolist())})"
