"""Parts of a class that are too small beside its largest part to be it: islands far from the organ."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Spacing

_LOOKED_AT_MM: Final = 3.0
"""Parts are told apart on about this grid, so that memory and time do not grow with the resolution of the scan."""


def drop_fragments(labels_zyx: npt.NDArray[np.uint8], spacing_mm: Spacing, smallest_part: Sequence[float]) -> None:
    """Make background of every part of a class that is smaller than a fraction of the class's largest part.

    Parts are told apart on voxels about 3 mm apart: what comes nearer than that is one part, and a speck that none of
    them meets stays. What is kept does not change in a single voxel.

    Args:
        labels_zyx: codes; changed in place.
        spacing_mm: distance between voxel centers along (z, y, x), in mm.
        smallest_part: the fraction for each code, background first; 0 keeps all parts.
    """
    if not any(smallest_part):
        return
    import cc3d  # not before a model asks for it

    steps = [max(1, round(_LOOKED_AT_MM / spacing)) for spacing in spacing_mm]
    sampled = np.ascontiguousarray(labels_zyx[tuple(slice(None, None, step) for step in steps)])
    for code, fraction in enumerate(smallest_part):
        if fraction > 0:
            parts = cc3d.connected_components(sampled == code, connectivity=26)
            sizes = np.bincount(parts.ravel())
            sizes[0] = 0
            small = set(np.flatnonzero((sizes > 0) & (sizes < fraction * sizes.max())).tolist())
            kept = (parts > 0) & ~np.isin(parts, list(small))
            boxes = cc3d.statistics(parts)["bounding_boxes"] if small else ()
            for part in sorted(small):
                wide = tuple(slice(max(0, one.start - 2), one.stop + 2) for one in boxes[part])
                erased = _with_neighbors(parts[wide] == part) & ~_with_neighbors(kept[wide])
                _erase(labels_zyx, code, erased, [one.start for one in wide], steps)


def _with_neighbors(mask_zyx: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask and all voxels that touch it, by a corner too; scipy has it, and takes longer to import than to run."""
    grown = mask_zyx.copy()
    for axis in range(grown.ndim):
        before = np.moveaxis(grown.copy(), axis, 0)
        after = np.moveaxis(grown, axis, 0)
        after[1:] |= before[:-1]
        after[:-1] |= before[1:]
    return grown


def _erase(
    labels_zyx: npt.NDArray[np.uint8],
    code: int,
    erased: npt.NDArray[np.bool_],
    starts: Sequence[int],
    steps: Sequence[int],
) -> None:
    """Make background of a code where a mask of samples says so; a voxel asks the sample nearest to it.

    Args:
        labels_zyx: codes; changed in place.
        code: which of them.
        erased: the mask, a box of the sampled grid.
        starts: index of the box's first sample along each axis.
        steps: voxels from sample to sample.
    """
    places, region = [], []
    for length, start, step, size in zip(erased.shape, starts, steps, labels_zyx.shape, strict=True):
        voxels = np.arange(start * step, min(size, (start + length) * step))
        places.append(np.minimum((voxels + step // 2) // step - start, length - 1))
        region.append(slice(int(voxels[0]), int(voxels[-1]) + 1))
    within = labels_zyx[tuple(region)]
    within[(within == code) & erased[np.ix_(*places)]] = 0
