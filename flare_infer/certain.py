"""Where a network is certain of a class: voxels of the model's grid at which its logit leads all others by a margin."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flare_infer.geometry import Shape


class CertainVoxels:
    """Takes slabs of logits in order and keeps where one class leads.

    Args:
        channel: of the class, not 0.
        lead: how much larger its logit must be than that of every other channel.
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

    def on_grid(self, model_shape: Shape, shape: Shape) -> npt.NDArray[np.int64]:
        """Index (z, y, x) of the voxel of another grid with the same field of view in which each of them lies: (n, 3).

        Args:
            model_shape: shape of the logits, all slabs together.
            shape: that of the other grid.
        """
        found = np.concatenate(self._found) if self._found else np.empty((0, 3), dtype=np.int64)
        scale = np.divide(shape, model_shape)
        return np.minimum(((found + 0.5) * scale).astype(np.int64), np.subtract(shape, 1))
