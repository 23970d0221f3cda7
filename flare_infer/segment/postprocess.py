"""What is taken back after the network: islands far from their organ, and tumors of organs whose tumors it never saw.

A tumor stays only where the network is confident of it: its logit leads all others by a margin.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flare_infer import labels
from flare_infer.geometry import Box, Shape, Spacing, steps_apart
from flare_infer.segment.preprocess import voxels_on_grid
from flare_infer.volume.neighbors import with_neighbors

_LOOKED_AT_MM: Final = 3.0
"""Parts are distinguished on about this grid, so that memory and time do not grow with the resolution of the scan."""


def drop_islands(
    labels_zyx: npt.NDArray[np.uint8],
    spacing_mm: Spacing,
    smallest_part: Sequence[float],
    tumor_organs: Sequence[int] = (),
    confident: npt.NDArray[np.int64] | None = None,
) -> None:
    """Make background of every part of the tumors of which the model is nowhere confident.

    Then of every part of a class that is smaller than a fraction of the class's largest part, and of every part of the
    tumors that touches none of the organs whose tumors a model knows. What a tumor joins is one part of such an organ.

    Parts are distinguished on voxels about 3 mm apart: what comes nearer than that is one part, and a speck between
    them stays. What is kept does not change in a single voxel.

    Args:
        labels_zyx: codes; changed in place.
        spacing_mm: distance between voxel centers along (z, y, x), in mm.
        smallest_part: the fraction for each code, background first; 0 keeps all parts.
        tumor_organs: codes of these organs; none keeps all tumors.
        confident: indices (n, 3) of the voxels at which the model is confident of tumor; None keeps all tumors.
    """
    if not any(smallest_part) and not tumor_organs and confident is None:
        return
    steps = steps_apart(spacing_mm, _LOOKED_AT_MM)
    samples = tuple(slice(None, None, step) for step in steps)
    if confident is not None:
        sampled_shape = labels_zyx[samples].shape
        nearest = np.minimum((confident + np.floor_divide(steps, 2)) // steps, np.subtract(sampled_shape, 1))
        confident_zyx = np.zeros(sampled_shape, dtype=np.bool_)
        confident_zyx[tuple(nearest.T)] = True
        _drop_tumors_away_from(confident_zyx, labels_zyx, steps)
    sampled = np.ascontiguousarray(labels_zyx[samples])
    for code, fraction in enumerate(smallest_part):
        if fraction > 0:
            its = sampled == code
            parts = _parts(its | (sampled == labels.TUMOR) if code in tumor_organs else its)
            sizes = np.bincount(parts[its], minlength=1)
            small = np.flatnonzero((sizes > 0) & (sizes < fraction * sizes.max()))
            _drop(labels_zyx, code, parts, set(small.tolist()), steps)
    if tumor_organs:
        sampled = labels_zyx[samples]
        _drop_tumors_away_from(np.isin(sampled, tumor_organs), labels_zyx, steps)


def _drop_tumors_away_from(
    mask_zyx: npt.NDArray[np.bool_], labels_zyx: npt.NDArray[np.uint8], steps: Sequence[int]
) -> None:  # fmt: skip
    """Make background of the parts of the tumors that touch nothing of a mask of samples."""
    samples = tuple(slice(None, None, step) for step in steps)
    parts = _parts(np.ascontiguousarray(labels_zyx[samples] == labels.TUMOR))
    touching = parts[with_neighbors(mask_zyx)]
    strays = set(np.unique(parts).tolist()) - set(np.unique(touching).tolist()) - {0}
    _drop(labels_zyx, labels.TUMOR, parts, strays, steps)


def _parts(mask_zyx: npt.NDArray[np.bool_]) -> npt.NDArray[np.unsignedinteger[Any]]:
    import cc3d  # not before a model asks for it

    # As numbers: of truth values cc3d 4.1 refuses masks of which every other voxel is set.
    parts: npt.NDArray[np.unsignedinteger[Any]] = cc3d.connected_components(mask_zyx.view(np.uint8), connectivity=26)
    return parts


def _drop(
    labels_zyx: npt.NDArray[np.uint8],
    code: int,
    parts: npt.NDArray[np.unsignedinteger[Any]],
    dropped: set[int],
    steps: Sequence[int],
) -> None:
    """Make background of some parts of a code, told apart on the samples; a voxel beside a part that stays, stays."""
    if not dropped:
        return
    import cc3d

    kept = (parts > 0) & ~np.isin(parts, list(dropped))
    boxes = cc3d.statistics(parts)["bounding_boxes"]
    for part in sorted(dropped):
        wide = Box(*boxes[part]).grown((2, 2, 2), parts.shape)
        erased = with_neighbors(parts[wide] == part) & ~with_neighbors(kept[wide])
        _erase(labels_zyx, code, erased, wide.starts, steps)


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
        code: the code to erase.
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


class ConfidentVoxels:
    """Takes slabs of logits in order and keeps where one class leads.

    Args:
        channel: channel of the class, not 0.
        lead: least difference between its logit and that of every other channel.
    """

    def __init__(self, channel: int, lead: float) -> None:
        self._channel = channel
        self._lead = lead
        self._taken = 0
        self._found: list[npt.NDArray[np.int64]] = []

    def take(self, slab_czyx: Tensor) -> None:
        """The next planes of logits (channels, dz, y, x)."""
        its_zyx = slab_czyx[self._channel]
        # Hardly any voxel is ahead of background; only there the others are compared.
        places = (its_zyx - slab_czyx[0] > self._lead).nonzero()
        values_cn = slab_czyx[:, places[:, 0], places[:, 1], places[:, 2]].float()
        others_cn = torch.cat((values_cn[: self._channel], values_cn[self._channel + 1 :]))
        ahead = values_cn[self._channel] - others_cn.amax(dim=0) > self._lead
        found = places[ahead].cpu().numpy()
        found[:, 0] += self._taken
        self._found.append(found)
        self._taken += slab_czyx.shape[1]

    def found(self) -> npt.NDArray[np.int64]:
        """Index (z, y, x) of each of them in the grid of the logits, (n, 3)."""
        return np.concatenate(self._found) if self._found else np.empty((0, 3), dtype=np.int64)

    def on_grid(self, model_shape: Shape, shape: Shape) -> npt.NDArray[np.int64]:
        """Index (z, y, x) of the voxel of another grid with the same field of view in which each of them lies: (n, 3).

        Args:
            model_shape: shape of the logits, all slabs together.
            shape: shape of the other grid.
        """
        return voxels_on_grid(self.found(), model_shape, shape)
