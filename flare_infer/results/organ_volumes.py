"""What a label map holds of each class: its volume, whether the scan cuts it, and its largest part."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer import labels
from flare_infer.errors import ImageError
from flare_infer.geometry import Spacing, steps_apart, voxel_volume_ml

_PARTS_ON_MM: Final = 3.0
"""Parts are distinguished on about this grid, so that memory and time do not grow with the resolution of the scan."""


def volumes_ml(
    labels_zyx: npt.NDArray[Any], spacing_mm: Spacing, codes: Iterable[int] = labels.CODES
) -> dict[int, float]:
    """Volume of every class of a label map.

    Args:
        labels_zyx: label codes of an integer type; other codes are passed over.
        spacing_mm: distance between voxel centers along (z, y, x), in mm.
        codes: codes of the classes, by default the challenge's.

    Returns:
        Code to milliliters, in the order of `codes`; 0.0 for a class that is absent.

    Raises:
        ImageError: if the codes are not of an integer type, or one is negative.

    Example:
        >>> labels_zyx = np.zeros((10, 100, 100), np.uint8)
        >>> labels_zyx[2:4] = labels.LIVER
        >>> volumes_ml(labels_zyx, (5.0, 1.0, 1.0))[labels.LIVER]
        100.0
    """
    if not np.issubdtype(labels_zyx.dtype, np.integer):
        raise ImageError(f"expected label codes of an integer type, found {labels_zyx.dtype}; round them first")
    counts = np.zeros(max(codes := tuple(codes)) + 1, dtype=np.int64)
    # Slice by slice: bincount turns what it counts into 8-byte integers, 2 GB at once for a label map of 1000 slices.
    for slice_yx in labels_zyx:
        if slice_yx.size and slice_yx.min() < 0:
            raise ImageError(f"expected label codes from 0, found {slice_yx.min()}; is this a label map?")
        counts += np.bincount(slice_yx.ravel(), minlength=counts.size)[: counts.size]
    voxel_ml = voxel_volume_ml(spacing_mm)
    return {code: float(counts[code] * voxel_ml) for code in codes}


def cut_by_edge(labels_zyx: npt.NDArray[Any]) -> frozenset[int]:
    """The classes of which a voxel lies on a face of the array: the rest of them may lie outside the scan.

    Args:
        labels_zyx: label codes of an integer type; codes that `labels` does not know are passed over.
    """
    faces = [np.take(labels_zyx, end, axis=axis) for axis in range(labels_zyx.ndim) for end in (0, -1)]
    return frozenset(code for code in labels.CODES if any((face == code).any() for face in faces))


def volume_text(volume_ml: float, *, cut: bool, decimals: int = 1) -> str:
    """A volume in milliliters for people: "> 72.8" if the scan cuts it, "< 0.1" for a trace, "-" for nothing."""
    if volume_ml == 0:
        return "-"
    if volume_ml < 0.05:
        return "< 0.1"
    return f"{'> ' if cut else ''}{volume_ml:,.{decimals}f}"


def largest_parts(
    labels_zyx: npt.NDArray[np.uint8], spacing_mm: Spacing, codes: Iterable[int] = labels.CODES
) -> tuple[npt.NDArray[np.uint8], tuple[int, int, int]]:
    """Of each class its largest connected part (by corners, too), on every n-th voxel along each axis.

    Args:
        labels_zyx: label codes.
        spacing_mm: distance between voxel centers along (z, y, x), in mm.
        codes: the classes; every other code becomes background.

    Returns:
        The codes of samples about 3 mm apart, with background for all other parts, and n along each axis.
    """
    import cc3d  # not before somebody asks for parts

    z, y, x = steps_apart(spacing_mm, _PARTS_ON_MM)
    sampled = np.ascontiguousarray(labels_zyx[::z, ::y, ::x])
    parts = cc3d.connected_components(sampled, connectivity=26)
    sizes = np.bincount(parts.ravel())
    # Of each part its code, then of each code its largest part: the volume itself is gone through three times.
    code_of_part = np.zeros(sizes.size, dtype=np.uint8)
    code_of_part[parts.ravel()] = sampled.ravel()
    kept = np.full(sizes.size, labels.BACKGROUND, dtype=np.uint8)
    for code in codes:
        if (its := np.flatnonzero(code_of_part == code)).size:
            kept[its[np.argmax(sizes[its])]] = code
    return kept[parts], (z, y, x)
