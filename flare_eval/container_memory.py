"""Memory of a container: its control group on this machine, never the client that started it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

MB: Final = 2**20
_CGROUP: Final = Path("/sys/fs/cgroup")
_PROC: Final = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class CgroupMemory:
    """The memory of one control group, version 1 or 2.

    Attributes:
        usage: file that holds the bytes in use, file cache included.
        stat: file that tells how much of that is cache that can be dropped.
        cache_key: the name of this number in `stat`.
    """

    usage: Path
    stat: Path
    cache_key: str

    def read_mb(self) -> float | None:
        """Memory in use without droppable file cache, as `docker stats` counts; None once the group is gone."""
        try:
            usage = int(self.usage.read_text())
            rows = dict(line.split() for line in self.stat.read_text().splitlines())
        except (OSError, ValueError):
            return None
        return max(0, usage - int(rows.get(self.cache_key, 0))) / MB


def cgroup_of(pid: int, cgroup: Path = _CGROUP, proc: Path = _PROC) -> CgroupMemory | None:
    """The control group of a container's first process.

    Args:
        pid: process id as this machine sees it.
        cgroup: where control groups are mounted.
        proc: where the kernel's files are.

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
