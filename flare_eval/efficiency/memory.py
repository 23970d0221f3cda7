"""Memory in use, read from outside.

- `tree_memory_mb`: that of a plain command and its child processes, from /proc;
- `CgroupMemory`: that of a container, from its control group;
- `Gpu`: that of a whole NVIDIA device, from the driver's library NVML.
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

MB: Final = 2**20
"""Bytes in the unit of every memory here."""

_PROC: Final = Path("/proc")
_CGROUP: Final = Path("/sys/fs/cgroup")
_NVML: Final = "libnvidia-ml.so.1"
_NVML_SUCCESS: Final = 0


class _Process(NamedTuple):
    """Process ids of a process's parent and of the leader of its session."""

    parent: int
    session: int


def tree_memory_mb(root: int, proc: Path = _PROC) -> float | None:
    """Resident memory of a process, its descendants and the other processes of its session, in MB of 2**20 bytes.

    The session finds children whose own parent has ended, provided that `root` leads a session. Memory that processes
    share is divided among those that share it where the kernel says so, and counted in each otherwise.

    Args:
        root: id of the process.
        proc: folder where the kernel shows its processes.

    Returns:
        the memory; None if the process is gone, or this system has no /proc.
    """
    processes = _processes(proc)
    if root not in processes:
        return None
    members = {pid for pid, process in processes.items() if process.session == root} | {root}
    while more := {pid for pid, process in processes.items() if process.parent in members} - members:
        members |= more
    found = [memory for pid in members if (memory := _resident_kb(proc / str(pid), len(members) > 1)) is not None]
    return sum(found) * 1024 / MB if found else None


def _processes(proc: Path) -> dict[int, _Process]:
    """All processes of this machine, by process id; none without /proc."""
    found = {}
    try:
        names = [path.name for path in proc.iterdir() if path.name.isdigit()]
    except OSError:
        return {}
    for name in names:
        try:
            # The name of the program stands in parentheses and may hold anything, parentheses too.
            rest = (proc / name / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            found[int(name)] = _Process(parent=int(rest[1]), session=int(rest[3]))
        except (OSError, IndexError, ValueError):
            continue  # it has ended meanwhile
    return found


def _resident_kb(folder: Path, shares: bool) -> int | None:
    """Resident memory of the process with this folder in /proc; with `shares`, of shared memory only its share."""
    files = ("smaps_rollup", "Pss:"), ("status", "VmRSS:")
    for name, key in files if shares else files[1:]:
        try:
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(key):
                return int(line.split()[1])
    return None


@dataclass(frozen=True, kw_only=True)
class CgroupMemory:
    """The memory of one control group, version 1 or 2.

    Attributes:
        usage: file with the number of bytes in use, file cache included.
        stat: file with the number of bytes of file cache that can be dropped, among other numbers.
        cache_key: name of that number in `stat`.
    """

    usage: Path
    stat: Path
    cache_key: str

    def read_mb(self) -> float | None:
        """Memory in use in MB without droppable file cache, as `docker stats` counts; None once the group is gone."""
        try:
            usage = int(self.usage.read_text())
            rows = dict(line.split() for line in self.stat.read_text().splitlines())
        except (OSError, ValueError):
            return None
        return max(0, usage - int(rows.get(self.cache_key, 0))) / MB


def cgroup_of(pid: int, cgroup: Path = _CGROUP, proc: Path = _PROC) -> CgroupMemory | None:
    """The control group of a container's first process.

    Args:
        pid: id of the process, as this machine sees it.
        cgroup: folder where control groups are mounted.
        proc: folder where the kernel shows its processes.

    Returns:
        the group; None if it cannot be seen from here, for instance because containers run in a virtual machine, or
        if it is the root, which is no container's.
    """
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    groups = [line.split(":", 2)[1:] for line in lines if line.count(":") >= 2]
    for controllers, path in groups:
        inside = path.strip("/")
        if not inside:
            continue
        if "memory" in controllers.split(","):
            folder, usage, key = cgroup / "memory" / inside, "memory.usage_in_bytes", "total_inactive_file"
        elif not controllers:
            folder, usage, key = cgroup / inside, "memory.current", "inactive_file"
        else:
            continue
        if (folder / usage).is_file():
            return CgroupMemory(usage=folder / usage, stat=folder / "memory.stat", cache_key=key)
    return None


class _Memory(ctypes.Structure):
    """NVML's record of a device's memory: total, free and used bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA device.

    Attributes:
        library: the loaded library NVML, initialized.
        handle: NVML's handle of the device.
    """

    library: Any
    handle: Any

    def used_mb(self) -> float | None:
        """Total minus free memory of the whole device, in MB of 2**20 bytes; None if the driver reports an error."""
        memory = _Memory()
        if self.library.nvmlDeviceGetMemoryInfo(self.handle, ctypes.byref(memory)) != _NVML_SUCCESS:
            return None
        return float(memory.total - memory.free) / MB


def find_gpu(index: int, library_name: str = _NVML) -> Gpu | None:
    """The NVIDIA device with this index; None without a driver or such a device."""
    try:
        library = ctypes.CDLL(library_name)
    except OSError:
        return None
    handle = ctypes.c_void_p()
    if library.nvmlInit_v2() != _NVML_SUCCESS:
        return None
    if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) != _NVML_SUCCESS:
        return None
    return Gpu(library, handle)
