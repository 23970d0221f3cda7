"""Memory of a plain command: all processes it started, from Linux' /proc."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

MB: Final = 2**20
_PROC: Final = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class _Process:
    parent: int
    session: int


def tree_memory_mb(root: int, proc: Path = _PROC) -> float | None:
    """Resident memory of a process, all its descendants, and all of its session, in MB of 2**20 bytes.

    The session finds children whose own parent has ended, provided that `root` leads a session. Memory that processes
    share is divided among those that share it where the kernel says so, and counted in each otherwise.

    Args:
        root: process id.
        proc: where the kernel's files are.

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
    """Proportional share where memory may be shared among the members and the kernel tells it, else resident memory."""
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
