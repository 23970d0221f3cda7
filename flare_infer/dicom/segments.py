"""The voxels of a DICOM segmentation, on the grid of the CT that it was drawn on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.dicom.elements import damage_reported
from flare_infer.dicom.structures import DrawnObject, items, read_dataset
from flare_infer.errors import ImageError
from flare_infer.geometry import Shape
from flare_infer.volume.volume import Placement

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

OFF_VOXELS: Final = 0.25
"""By so much what was drawn may miss the grid of the CT, in voxels: headers are rounded, and slices a little uneven."""


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Where a frame lies on the grid of the CT.

    Attributes:
        index: its number in the file.
        segment: number of its segment; None if its pixels hold numbers of segments.
        start: indices (z, y, x) of its first pixel.
        down: by what they change from row to row.
        right: by what they change from column to column.
    """

    index: int
    segment: int | None
    start: npt.NDArray[np.int64]
    down: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]


def segment_voxels(
    drawn: DrawnObject, numbers: Sequence[int], placement: Placement, shape: Shape
) -> dict[int, npt.NDArray[np.int64]]:
    """The voxels of segments.

    A fractional segment counts where it is at least half of its maximum.

    Args:
        drawn: the segmentation.
        numbers: numbers of the segments.
        placement: where the CT lies.
        shape: its number of voxels along (z, y, x).

    Returns:
        for each number the flat indices of the segment's voxels in an array of that shape, in increasing order.

    Raises:
        ImageError: if its frames lie on another grid or reach beyond the CT, or it cannot be read.
    """
    with damage_reported():
        header = read_dataset(drawn.path)
        frames = list(_frames(header, placement))
        half = max(1, (int(header.get("MaximumFractionalValue") or 1) + 1) // 2)
        if any(frame.segment is None for frame in frames):
            values_zyx = np.zeros(shape, np.uint16)
            for frame, plane in _planes(drawn, frames):
                _paste(values_zyx, plane, frame)
            return {number: np.flatnonzero(values_zyx == number) for number in numbers}
        voxels = {}
        for number in numbers:
            mask_zyx = np.zeros(shape, np.bool_)
            for frame, plane in _planes(drawn, [frame for frame in frames if frame.segment == number]):
                _paste(mask_zyx, plane >= half, frame)
            voxels[number] = np.flatnonzero(mask_zyx)
        return voxels


def _planes(drawn: DrawnObject, frames: Sequence[_Frame]) -> Iterator[tuple[_Frame, npt.NDArray[Any]]]:
    from pydicom.pixels.utils import iter_pixels

    if frames:
        planes = iter_pixels(drawn.path, indices=[frame.index for frame in frames], raw=True)
        yield from zip(frames, planes, strict=True)


def _frames(header: "Dataset", placement: Placement) -> Iterator[_Frame]:
    shared = items(header, "SharedFunctionalGroupsSequence")
    is_map = header.get("SegmentationType") == "LABELMAP"
    size = np.array([int(header.Rows), int(header.Columns)])
    for index, own in enumerate(items(header, "PerFrameFunctionalGroupsSequence")):
        groups = [own, *shared]
        position = _first(groups, "PlanePositionSequence").ImagePositionPatient
        axes = np.asarray(_first(groups, "PlaneOrientationSequence").ImageOrientationPatient, np.float64)
        row_mm, column_mm = map(float, _first(groups, "PixelMeasuresSequence").PixelSpacing)
        numbers = None if is_map else int(_first(groups, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        corner = on_grid(np.asarray(position, np.float64) - placement.origin_mm, placement)
        steps = np.stack([on_grid(axes[3:] * row_mm, placement), on_grid(axes[:3] * column_mm, placement)])
        start, (down, right) = np.rint(corner), np.rint(steps)
        drift = np.abs(steps - np.rint(steps)) * (size[:, None] - 1)
        if (np.abs(steps).round().sum(axis=1) != 1).any() or (down * right).any() or drift.max() > OFF_VOXELS:
            raise ImageError("was drawn on another grid than the CT's; resample it to the CT first")
        if np.abs(corner - start).max() > OFF_VOXELS:
            raise ImageError("lies between the voxels of the CT; resample it to the CT first")
        whole = (part.astype(np.int64) for part in (start, down, right))
        yield _Frame(index=index, segment=numbers, **dict(zip(("start", "down", "right"), whole, strict=True)))


def on_grid(offset_mm: npt.NDArray[np.float64], placement: Placement) -> npt.NDArray[np.float64]:
    """Offsets in patient coordinates as steps along the array axes (z, y, x), in voxels."""
    steps: npt.NDArray[np.float64] = offset_mm @ np.asarray(placement.axes).T / placement.spacing_mm
    return steps


def _first(groups: Sequence["Dataset"], name: str) -> Any:
    """The first item of a sequence, of a frame's own groups if it is there, else of those that all frames share."""
    return next(item for group in groups for item in items(group, name))


def _paste(target_zyx: npt.NDArray[Any], plane: npt.NDArray[Any], frame: _Frame) -> None:
    at = np.argwhere(plane)
    indices = frame.start + at[:, :1] * frame.down + at[:, 1:] * frame.right
    if at.size and ((indices < 0).any() or (indices >= target_zyx.shape).any()):
        raise ImageError("reaches beyond the CT; was it drawn on another series?")
    target_zyx[tuple(indices.T)] = plane[tuple(at.T)]
