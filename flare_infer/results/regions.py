"""What is measured of a region, a class or a lesion: its size, its place and the intensities inside.

A scan is read slice by slice, inside the boxes of the classes: besides a mask of one box and the intensities of one
class nothing large is held, whatever the size of the scan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Box, triple_of_floats, voxel_volume_ml
from flare_infer.results.case import Intensities
from flare_infer.volume.padding import without_padding
from flare_infer.volume.volume import Placement, Volume

_SIDES: Final = (("right", "left"), ("front", "back"), ("lower", "upper"))
"""Of patient coordinates LPS: against each of them, and along it."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Region:
    """Some voxels of a scan.

    Attributes:
        mask_zyx: the voxels, at least one, in a box.
        box: the smallest box that holds them, in the scan's grid.
    """

    mask_zyx: Mask
    box: Box


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is measured of a region.

    Attributes:
        volume_ml: its volume.
        center_mm: its centroid in patient coordinates LPS.
        extent_mm: size of the box around its voxels along the patient's axes.
        intensities: of the voxels that hold a finite number; None if none does, or there is no scan.
    """

    volume_ml: float
    center_mm: tuple[float, float, float]
    extent_mm: tuple[float, float, float]
    intensities: Intensities | None


def measure(regions: Sequence[Region], placement: Placement, scan_zyx: npt.NDArray[Any] | None) -> Measured:
    """Volume, place and intensities of regions together.

    Args:
        regions: at least one.
        placement: of the scan's grid.
        scan_zyx: the scan; None if its intensities say nothing.
    """
    steps_mm = np.asarray(placement.axes) * np.asarray(placement.spacing_mm)[:, None]
    count, sums = 0, np.zeros(3)
    lowest, highest = np.full(3, np.inf), np.full(3, -np.inf)
    for region in regions:
        in_rows, in_columns = region.mask_zyx.sum(axis=2), region.mask_zyx.sum(axis=(0, 1))
        along = (in_rows.sum(axis=1), in_rows.sum(axis=0), in_columns)
        count += (its := int(in_columns.sum()))
        sums += its * np.asarray(region.box.starts) + [counts @ np.arange(counts.size) for counts in along]
        ends_mm = steps_mm.T @ _ends_of_rows(region.mask_zyx) + (region.box.starts @ steps_mm)[:, None]
        lowest, highest = np.minimum(lowest, ends_mm.min(axis=1)), np.maximum(highest, ends_mm.max(axis=1))
    center = np.asarray(placement.origin_mm) + sums / count @ steps_mm
    extent = highest - lowest + np.abs(steps_mm).sum(axis=0)
    return Measured(
        volume_ml=count * voxel_volume_ml(placement.spacing_mm),
        center_mm=triple_of_floats(center.tolist()),
        extent_mm=triple_of_floats(extent.tolist()),
        intensities=None if scan_zyx is None else intensities_of(regions, scan_zyx),
    )


def _ends_of_rows(mask_zyx: Mask) -> npt.NDArray[np.float64]:
    """Indices (3, n) of the first and the last voxel of each row: no other can be the farthest in any direction."""
    in_z, in_y = np.nonzero(mask_zyx.any(axis=2))
    first = mask_zyx.argmax(axis=2)[in_z, in_y]
    last = mask_zyx.shape[2] - 1 - mask_zyx[..., ::-1].argmax(axis=2)[in_z, in_y]
    return np.concatenate([np.stack((in_z, in_y, in_x)) for in_x in (first, last)], axis=1, dtype=np.float64)


def intensities_of(regions: Sequence[Region], scan_zyx: npt.NDArray[Any]) -> Intensities | None:
    """Mean, standard deviation (of the voxels, not of an estimate) and median of the finite intensities in regions.

    Args:
        regions: at least one.
        scan_zyx: the scan.
    """
    count, total, squares, kept = 0, 0.0, 0.0, []
    planes = ((scan_zyx[one.box][z], mask_yx) for one in regions for z, mask_yx in enumerate(one.mask_zyx))
    for plane_yx, mask_yx in planes:
        values = plane_yx[mask_yx]
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        exact = values.astype(np.float64)
        count, total, squares = count + exact.size, total + exact.sum(), squares + float(exact @ exact)
        kept.append(values)
    if not count:
        return None
    mean = float(total / count)
    values = np.concatenate(kept)
    return Intensities(
        mean=mean,
        sd=float(np.sqrt(max(0.0, squares / count - mean**2))),
        median=float(np.median(values, overwrite_input=True)),
    )


class Faces:
    """The faces of a scan without the planes that it was padded with, and which of them a region touches.

    Args:
        scan: the scan.

    Attributes:
        inside: the box that is left of the scan without them.
    """

    def __init__(self, scan: Volume) -> None:
        self.inside = without_padding(scan.array_zyx)
        self._names = [_ends(axis) for axis in scan.placement.axes]

    def touched_by(self, box: Box) -> tuple[str, ...]:
        """Names of the faces that a region in this box touches: beyond them the rest of it may lie."""
        touched = []
        for part, seen, (first, last) in zip(box, self.inside, self._names, strict=True):
            touched += [first] if part.start <= seen.start else []
            touched += [last] if part.stop >= seen.stop else []
        return tuple(touched)


def _ends(axis: tuple[float, float, float]) -> tuple[str, str]:
    """Toward which side of the patient the first and the last voxel along an array axis lie."""
    along = int(np.argmax(np.abs(axis)))
    low, high = _SIDES[along]
    return (low, high) if axis[along] > 0 else (high, low)


def connected_parts(region: Region) -> tuple[npt.NDArray[np.unsignedinteger[Any]], int]:
    """Numbers from 1 of the parts that touch by face, edge or corner (0 elsewhere), and how many there are."""
    import cc3d  # not before somebody asks for parts

    # As numbers: of truth values cc3d 4.1 refuses masks of which every other voxel is set.
    parts, count = cc3d.connected_components(region.mask_zyx.view(np.uint8), connectivity=26, return_N=True)
    return parts, int(count)
