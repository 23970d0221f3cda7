"""How sure a network is of what it finds, from its logits, on its own grid.

docs/statistics.md says what the numbers mean and how well they tell good outlines from bad ones.
"""

from collections.abc import Sequence
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flare_infer.geometry import Box
from flare_infer.model.spec import ModelSpec
from flare_infer.segment.preprocess import WayBack
from flare_infer.volume.voxel_values import VoxelValues

_NEARLY_FOUND: Final = -2.0
"""Voxels at which the strongest class is at most so far behind background are looked at, too, in logits."""


class ConfidenceMeter:
    """Takes slabs of logits in order and measures how sure the network is of each class.

    The confidence of a class is the overlap that the network itself expects of its outline with the truth: twice the
    sum of the class's probabilities over the voxels that it wins, divided by the number of these voxels plus the sum of
    its probabilities over all voxels (a Dice coefficient of the outline with the probabilities). It falls where the
    network doubts what it found, and where it nearly found more.

    Args:
        codes: code of each channel, background first.
        kept: codes whose probabilities are kept voxel by voxel.
    """

    def __init__(self, codes: Sequence[int], kept: Sequence[int] = ()) -> None:
        self._codes = tuple(codes)
        self._kept = [channel for channel, code in enumerate(codes) if code in kept]
        self._wins = np.zeros(len(codes))
        self._inside = np.zeros(len(codes))
        self._everywhere = np.zeros(len(codes))
        self._taken = 0
        self._found: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]] = []

    @classmethod
    def of(cls, spec: ModelSpec) -> Self:
        """The meter of a model, which keeps the probabilities of lesions voxel by voxel."""
        return cls(spec.predicted, spec.lesion_codes)

    def take(self, slab_czyx: Tensor) -> None:
        """The next planes of logits (channels, dz, y, x)."""
        # Plane by plane, so that the probabilities of few voxels are held at once.
        for plane_cyx in slab_czyx.unbind(1):
            self._take_plane(plane_cyx)
            self._taken += 1

    def _take_plane(self, plane_cyx: Tensor) -> None:
        near = plane_cyx[1:].amax(dim=0) - plane_cyx[0] > _NEARLY_FOUND
        places = near.nonzero()
        if not len(places):
            return
        probabilities_cn = torch.softmax(plane_cyx[:, places[:, 0], places[:, 1]].float(), dim=0)
        strongest, winner = (part.cpu().numpy() for part in probabilities_cn.max(dim=0))
        count = len(self._codes)
        self._wins += np.bincount(winner, minlength=count)
        self._inside += np.bincount(winner, weights=strongest, minlength=count)
        self._everywhere += probabilities_cn.sum(dim=1, dtype=torch.float64).cpu().numpy()
        if self._kept and (its := np.isin(winner, self._kept)).any():
            indices = np.insert(places.cpu().numpy()[its], 0, self._taken, axis=1)
            self._found.append((indices.astype(np.int32), strongest[its].astype(np.float32)))

    def by_code(self) -> dict[int, float]:
        """Confidence from 0 to 1 of each class that wins a voxel."""
        return {
            code: float(2 * self._inside[channel] / (self._wins[channel] + self._everywhere[channel]))
            for channel, code in enumerate(self._codes)
            if channel and self._wins[channel]
        }

    def kept(self, way_back: WayBack, model_shape: Sequence[int], box: Box) -> VoxelValues:
        """The probabilities that were kept, at the voxels of the scan.

        Args:
            way_back: the way from the model's grid to the scan's.
            model_shape: shape of the logits, all slabs together.
            box: the part of the scan that was looked at.
        """
        found = np.concatenate([np.empty((0, 3), dtype=np.int64), *(indices for indices, _ in self._found)])
        values = np.concatenate([np.empty(0, dtype=np.float32), *(values for _, values in self._found)])
        indices = way_back.voxels(found, model_shape) + np.asarray(box.starts)
        return VoxelValues(indices=indices.astype(np.int32), values=values)
