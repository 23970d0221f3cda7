"""A checkpoint of nnU-Net, read without ever running code from it."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from flare_infer.errors import WeightsError


class _Ignored:
    """Stands for everything of numpy in a checkpoint: numbers of the training log, which inference does not need.

    A file that names these functions of numpy gets this instead, so that none of them ever sees the file's bytes.
    """

    def __new__(cls, *_: object) -> "_Ignored":
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None:
        """Take nothing."""


_NUMBERS: Final = (
    *("numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
    *("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"),
)
"""Names of numpy that logs of nnU-Net contain, before numpy 2 and since."""

_UNREADABLE: Final = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, OSError, LookupError),
    *(TypeError, ValueError, AttributeError, AssertionError, OverflowError, MemoryError),
)
"""What a damaged or hostile file makes the restricted reader raise."""

_MOST_PICKLED_BYTES: Final = 2**26
"""Of the pickle in a checkpoint; it holds names and the training log, and is a few hundred kilobytes long."""


@dataclass(frozen=True, kw_only=True)
class NnunetCheckpoint:
    """What inference needs of a checkpoint.

    Attributes:
        weights: tensors by nnU-Net's names, without the prefixes that compiling and parallel training add.
        configuration: name of the trained configuration; empty if the file does not say.
        trainer: name of the trainer; empty if the file does not say.
        mirror_axes: axes that may be mirrored.
    """

    weights: Mapping[str, Tensor]
    configuration: str
    trainer: str
    mirror_axes: tuple[int, ...]


def read_checkpoint(path: Path) -> NnunetCheckpoint:
    """Read a checkpoint with torch's restricted reader: tensors, containers, numbers and text, nothing else.

    The file is mapped, and only the network's tensors are copied: what is not used, such as the optimizer's state,
    takes no memory, and no tensor can be larger than the file.

    Raises:
        WeightsError: if the file is missing, damaged, or asks for anything beyond; the text names it.
    """
    _check_archive(path)
    try:
        with torch.serialization.safe_globals([(_Ignored, name) for name in _NUMBERS]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _UNREADABLE as error:
        raise WeightsError(f"{path}: {_reason(error)}") from error
    try:
        return _checked(content, path.stat().st_size)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        raise WeightsError(
            f"{path}: expected a checkpoint of nnU-Net with network_weights ({type(error).__name__}: {error})"
        ) from error


def _check_archive(path: Path) -> None:
    """Refuse what is no archive as torch writes it: stored, not compressed, and no larger inside than outside."""
    if not path.exists():
        raise WeightsError(f"{path}: expected a checkpoint of nnU-Net, found nothing")
    if not path.is_file():
        raise WeightsError(f"{path}: expected a checkpoint of nnU-Net, found something else than a file")
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WeightsError(f"{path}: not readable as a checkpoint, which is a zip archive ({error})") from error
    held, size = sum(record.file_size for record in records), path.stat().st_size
    compressed = [record.filename for record in records if record.compress_type != zipfile.ZIP_STORED]
    if compressed or held > size:
        found = f"{compressed[0]} is compressed" if compressed else f"{held} bytes in a file of {size}"
        raise WeightsError(f"{path}: refused, because torch never writes such an archive ({found})")
    if any(record.filename.endswith("/constants.pkl") for record in records):
        raise WeightsError(f"{path}: refused, because it is a program (TorchScript), expected a checkpoint of nnU-Net")
    pickled = max((record.file_size for record in records if record.filename.endswith(".pkl")), default=0)
    if pickled > _MOST_PICKLED_BYTES:
        raise WeightsError(f"{path}: refused, because its pickle is {pickled} bytes, expected {_MOST_PICKLED_BYTES}")


def _checked(content: Any, most_bytes: int) -> NnunetCheckpoint:
    axes = content.get("inference_allowed_mirroring_axes")
    return NnunetCheckpoint(
        weights=_copied(content["network_weights"], most_bytes),
        configuration=str((content.get("init_args") or {}).get("configuration", "")),
        trainer=str(content.get("trainer_name", "")),
        mirror_axes=tuple(int(axis) for axis in axes or ()),
    )


def _copied(tensors: Mapping[str, Any], most_bytes: int) -> dict[str, Tensor]:
    """The tensors, no longer bound to the file; names of one tensor share one copy."""
    copies: dict[object, Tensor] = {}
    weights, left = {}, most_bytes
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or not tensor.is_floating_point():
            raise TypeError(f"{name} is no tensor of floating-point numbers")
        # A shape may promise terabytes of numbers that the file does not hold: a stride of 0, or no number at all.
        held = 0 if tensor.device.type != "cpu" else tensor.untyped_storage().nbytes()
        if not 0 < tensor.numel() * tensor.itemsize <= held:
            raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, but the file holds {held} bytes of it")
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if place not in copies:
            left -= tensor.numel() * tensor.itemsize
            if left < 0:
                raise ValueError(f"its tensors take more than the {most_bytes} bytes of the file")
            copies[place] = tensor.detach().clone()
        weights[_bare(name)] = copies[place]
    return weights


def _bare(name: str) -> str:
    """The name of a tensor, without what torch.compile and parallel training put in front."""
    return re.sub(r"^((_orig_mod|module)\.)+", "", name)


def _reason(error: Exception) -> str:
    wanted = re.search(r"GLOBAL (\S+)|unrecognized function (<[^>]*>)", str(error))
    if wanted:
        return (
            f"refused, because reading it would run {wanted[1] or wanted[2]}; expected a checkpoint that holds only "
            "tensors, numbers and text"
        )
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"not readable as a checkpoint ({type(error).__name__}: {first})"
