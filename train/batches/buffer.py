"""Memory that several processes see: a worker leaves there the voxels of what it has drawn."""

import ctypes
from dataclasses import replace
from math import prod
from multiprocessing.context import SpawnContext
from typing import Final

import torch
from torch import Tensor

from flare_infer.geometry import Shape
from train.augment.patch import Patch

_NOTHING: Final = torch.empty(0)


class PatchBuffer:
    """Slots for a patch each, all of one size, used again and again.

    A patch of the paper's size that travels through a pipe, or in shared memory of its own, costs more than cutting it
    out (benchmarks/results/loader.md). The system's shared memory is used where it has the room, else a file.

    Args:
        slots: patches at the same time.
        size: voxels of each along (z, y, x).
        context: what starts the processes that the buffer is handed to.
    """

    def __init__(self, slots: int, size: Shape, context: SpawnContext) -> None:
        self._shape = (slots, *size)
        # 8 slots of the paper's patch are 47 MB.
        self._images = context.RawArray(ctypes.c_float, prod(self._shape))
        self._labels = context.RawArray(ctypes.c_uint8, prod(self._shape))

    def put(self, slot: int, patch: Patch) -> Patch:
        """Copy the voxels of a patch into a slot; what comes back is the patch without them."""
        images, labels = self._tensors()
        images[slot], labels[slot] = patch.image_zyx, patch.labels_zyx
        return replace(patch, image_zyx=_NOTHING, labels_zyx=_NOTHING)

    def take(self, slot: int, patch: Patch) -> Patch:
        """What `put` gave back, with a copy of the voxels in the slot, which is free then."""
        images, labels = self._tensors()
        return replace(patch, image_zyx=images[slot].clone(), labels_zyx=labels[slot].clone())

    def _tensors(self) -> tuple[Tensor, Tensor]:
        images = torch.frombuffer(self._images, dtype=torch.float32).view(self._shape)
        return images, torch.frombuffer(self._labels, dtype=torch.uint8).view(self._shape)
