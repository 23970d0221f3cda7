"""Memory shared by several processes, through which workers hand over the voxels of patches."""

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
    """Shared memory with slots for patches of one size, which are used again and again.

    Sending a patch of the paper's size through a pipe, or in shared memory of its own, takes longer than cutting it out
    (benchmarks/results/loader.md). The system's shared memory is used if it has enough room, else a file.

    Args:
        slots: number of patches that it holds at the same time.
        size: number of voxels of each patch along (z, y, x).
        context: multiprocessing context that starts the processes which share it.
    """

    def __init__(self, slots: int, size: Shape, context: SpawnContext) -> None:
        self._shape = (slots, *size)
        # 8 slots of the paper's patch are 47 MB.
        self._images = context.RawArray(ctypes.c_float, prod(self._shape))
        self._labels = context.RawArray(ctypes.c_uint8, prod(self._shape))

    def put(self, slot: int, patch: Patch) -> Patch:
        """Copy the voxels of a patch into a slot and return the patch without its voxels."""
        images, labels = self._tensors()
        images[slot], labels[slot] = patch.image_zyx, patch.labels_zyx
        return replace(patch, image_zyx=_NOTHING, labels_zyx=_NOTHING)

    def take(self, slot: int, patch: Patch) -> Patch:
        """Return a patch that `put` returned, with a copy of the voxels in its slot, which may then be used again."""
        images, labels = self._tensors()
        return replace(patch, image_zyx=images[slot].clone(), labels_zyx=labels[slot].clone())

    def _tensors(self) -> tuple[Tensor, Tensor]:
        images = torch.frombuffer(self._images, dtype=torch.float32).view(self._shape)
        return images, torch.frombuffer(self._labels, dtype=torch.uint8).view(self._shape)
