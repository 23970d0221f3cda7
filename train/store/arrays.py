"""Arrays on disk, of which a patch is read without the rest: in compressed chunks, or in .npy files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.errors import DatasetError, FlareError
from flare_infer.geometry import Box, Shape, triple_of_ints

CHUNK: Final[Shape] = (32, 64, 64)
"""Voxels that are compressed together; 256 kB of float16."""

BLOCK: Final[Shape] = (8, 32, 32)
"""Voxels of a chunk that can be decompressed alone."""

_LEVEL: Final = 5
"""Compression level of LZ4HC, with which a patch is read in half the time of Zstandard, from files a seventh larger."""


@dataclass(frozen=True, kw_only=True)
class StoredArray:
    """A compressed array (z, y, x) in a file that is opened for each reading, so that it holds no memory or descriptor.

    Attributes:
        path: path of the file.
        shape: number of voxels along (z, y, x).
        dtype: type of the values.
    """

    path: Path
    shape: Shape
    dtype: np.dtype[Any]

    def __getitem__(self, box: Box) -> npt.NDArray[Any]:
        """The voxels of a box, as a new array.

        Raises:
            DatasetError: if the file is damaged.
        """
        blosc2 = _blosc2()
        try:
            stored = blosc2.open(str(self.path), mode="r", dparams=blosc2.DParams(nthreads=1))
            voxels: npt.NDArray[Any] = stored[box]
        except (OSError, RuntimeError, ValueError) as error:
            raise _damaged(self.path, error) from error
        return voxels

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """The whole array, decompressed."""
        whole = self[Box.at((0, 0, 0), self.shape)]
        return whole if dtype is None else whole.astype(dtype)


def write_array(path: Path, array_zyx: npt.NDArray[Any]) -> None:
    """Compress an array (z, y, x) into a file."""
    blosc2 = _blosc2()
    parameters = blosc2.CParams(codec=blosc2.Codec.LZ4HC, clevel=_LEVEL, nthreads=1)
    shape = array_zyx.shape
    chunk = tuple(min(most, length) for most, length in zip(CHUNK, shape, strict=True))
    block = tuple(min(most, length) for most, length in zip(BLOCK, chunk, strict=True))
    contiguous = np.ascontiguousarray(array_zyx)
    blosc2.asarray(contiguous, urlpath=str(path), mode="w", chunks=chunk, blocks=block, cparams=parameters)


def open_array(path: Path) -> StoredArray:
    """An array that `write_array` wrote; only its header is read.

    Raises:
        DatasetError: if it is not one.
    """
    blosc2 = _blosc2()
    try:
        stored = blosc2.open(str(path), mode="r")
        return StoredArray(path=path, shape=triple_of_ints(stored.shape), dtype=np.dtype(stored.dtype))
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DatasetError:
    return DatasetError(f"{path}: damaged ({error}); delete {path.parent} and run `flare-train prepare` again")


def _blosc2() -> Any:
    try:
        import blosc2
    except ImportError as error:
        raise FlareError('training needs Blosc2: pip install "flare-infer[train]"') from error
    return blosc2


@dataclass(frozen=True, kw_only=True)
class MappedArray:
    """An array in a .npy file that is mapped for each reading, so that it holds no memory or descriptor.

    A memory map that is kept would be copied with all its values when it is sent to another process, and each map holds
    a descriptor: too many for thousands of cases.

    Attributes:
        path: path of the file.
        shape: number of values along each axis.
        dtype: type of the values.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, box: Box | slice) -> npt.NDArray[Any]:
        """The values of a box, read through a new memory map.

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
