"""Voxels of each class of a prepared case, in a file."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from train.store.arrays import map_array


class ClassLocations(Mapping[int, npt.NDArray[np.int32]]):
    """Voxels of each class of a stored case, read only when they are needed, so that thousands of cases fit in memory.

    Args:
        path: file of an array (n, 3): the voxels (z, y, x) of all classes, one class after the other.
        counts: number of voxels of each class by code, in the order in which they are stored.

    Raises:
        DatasetError: if there is no such array.
    """

    def __init__(self, path: Path, counts: Mapping[int, int]) -> None:
        self._array = map_array(path) if counts else np.zeros((0, 3), np.int32)
        self._parts: dict[int, slice] = {}
        start = 0
        for code, count in counts.items():
            self._parts[code] = slice(start, start + count)
            start += count

    def __getitem__(self, code: int) -> npt.NDArray[np.int32]:
        return self._array[self._parts[code]]

    def __iter__(self) -> Iterator[int]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)
