"""Arrays in .npy files that are opened for each reading."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_infer.errors import DatasetError
from flare_infer.geometry import Slices


@dataclass(frozen=True, kw_only=True)
class MappedArray:
    """An array in a .npy file; it costs no memory and no descriptor, and a worker process is handed its path alone.

    A memory map that is kept would be copied with all its values when it is handed to another process, and each one
    holds a descriptor: too many for thousands of cases.

    Attributes:
        path: the file.
        shape: its number of values along each axis.
        dtype: type of its values.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, box: Slices | slice) -> npt.NDArray[Any]:
        """The values of a box, through a memory map of their own.

        Raises:
            DatasetError: if the file is gone or damaged.
        """
        part: npt.NDArray[Any] = _map(self.path)[box]
        return part

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """The whole array."""
        return np.array(_map(self.path), dtype=dtype)


def map_array(path: Path) -> MappedArray:
    """An array that `np.save` wrote; only its header is read.

    Raises:
        DatasetError: if it is not one.
    """
    mapped = _map(path)
    return MappedArray(path=path, shape=mapped.shape, dtype=mapped.dtype)


def _map(path: Path) -> npt.NDArray[Any]:
    try:
        mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path}: damaged ({error}); delete {path.parent} and make it again with the same command as before"
        ) from error
    return mapped
