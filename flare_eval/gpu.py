"""Memory of a GPU by NVML, the library that comes with NVIDIA's driver; nothing to install."""

import ctypes
from dataclasses import dataclass
from typing import Any, Final, Protocol

MB: Final = 2**20
_LIBRARY: Final = "libnvidia-ml.so.1"
_SUCCESS: Final = 0


class Gpu(Protocol):
    """A device whose memory can be read."""

    def used_mb(self) -> float | None:
        """Total minus free memory of the whole device, in MB of 2**20 bytes; None if it cannot be read."""


class _Memory(ctypes.Structure):
    """NVML's record: bytes in all, free and used."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@dataclass(frozen=True)
class NvmlGpu:
    """One NVIDIA device.

    Attributes:
        library: NVML, initialized.
        handle: the device.
    """

    library: Any
    handle: Any

    def used_mb(self) -> float | None:
        """Total minus free memory of the whole device, in MB of 2**20 bytes; None if the driver refuses."""
        memory = _Memory()
        if self.library.nvmlDeviceGetMemoryInfo(self.handle, ctypes.byref(memory)) != _SUCCESS:
            return None
        return float(memory.total - memory.free) / MB


def find_gpu(index: int, library_name: str = _LIBRARY) -> NvmlGpu | None:
    """The NVIDIA device of this index; None without a driver or without such a device."""
    try:
        library = ctypes.CDLL(library_name)
    except OSError:
        return None
    handle = ctypes.c_void_p()
    if library.nvmlInit_v2() != _SUCCESS:
        return None
    if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) != _SUCCESS:
        return None
    return NvmlGpu(library, handle)
