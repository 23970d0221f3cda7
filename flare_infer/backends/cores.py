"""How many cores this process may use, and in how many threads torch computes."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")
_GROUPS: Final = Path("/proc/self/cgroup")

THREAD_SETTINGS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables with which people say how many threads libraries use; torch follows them by itself."""


def cores_of_job(cgroup: Path = _CGROUP, groups: Path = _GROUPS) -> int:
    """The cores that this process may use: by its affinity, and by the CPU quota of its control group.

    A scheduler such as Slurm gives a job some of the cores; `docker run --cpus` and Kubernetes give it time on all of
    them. A quota of one and a half cores counts as two: the threads share it.

    Args:
        cgroup: folder at which control groups (version 1 or 2) are mounted.
        groups: the file that names this process's groups.

    Returns:
        1 or more.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(quota) for quota in _quotas(cgroup, groups))]))


def use_cores_of_job() -> None:
    """Let torch compute in as many threads as the job has cores; not more than it would, nor where a variable says."""
    import torch

    if not any(os.environ.get(name) for name in THREAD_SETTINGS):
        torch.set_num_threads(min(torch.get_num_threads(), cores_of_job()))


def use_one_thread() -> None:
    """Let torch compute in one thread from here on, as in one of several processes that share the cores."""
    import torch

    torch.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes in one thread.

    Many short operations gain little from several threads, and where other programs use the cores, too, threads that
    wait for each other at the end of each operation make them many times slower. Sums that several threads share are
    added in another order, and differ in their last bits.
    """
    import torch

    threads = torch.get_num_threads()
    use_one_thread()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _quotas(cgroup: Path, groups: Path) -> Iterator[float]:
    """Cores by the quota of each group that this process is in; groups without a quota are left out."""
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        inside = PurePosixPath(path.lstrip("/"))
        # A limit may stand at any group above, too. In a container the mount begins at the container's own group, and
        # the path may be the one outside: then only the last of these is there.
        for place in (inside, *inside.parents):
            if not controllers:
                yield from _quota_2(cgroup / place)
                yield from _quota_2(cgroup / "unified" / place)
            elif "cpu" in controllers.split(","):
                yield from _quota_1(cgroup / "cpu" / place)
                yield from _quota_1(cgroup / controllers / place)


def _quota_2(folder: Path) -> Iterator[float]:
    """By version 2: "QUOTA PERIOD" in microseconds, or "max PERIOD"."""
    yield from _ratio(_words(folder / "cpu.max"))


def _quota_1(folder: Path) -> Iterator[float]:
    """By version 1: the two numbers in a file each, the first of them -1 for no limit."""
    yield from _ratio([*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")])


def _ratio(words: list[str]) -> Iterator[float]:
    if len(words) == 2 and all(word.isdecimal() and int(word) > 0 for word in words):
        yield int(words[0]) / int(words[1])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []
