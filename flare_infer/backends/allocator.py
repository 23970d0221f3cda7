"""How memory is asked of the system: set once, before torch allocates.

A forward pass allocates and frees tensors of up to 300 MB. By default glibc maps each anew and returns it when it is
freed, so that every pass pays for pages of 4 kB, cleared one by one when first touched: a third of its time
(benchmarks/results/forward.md). Blocks that are kept cost memory, since blocks of many sizes fragment the heap: about
0.3 GB at the peak of the paper's network. Huge pages instead of that keep the memory lower, but are no faster than the
default while the system puts them together.
"""

import ctypes
import platform
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_LARGEST_INT: Final = 2**31 - 1


def keep_freed_blocks() -> bool:
    """Set glibc to serve blocks of any size from its heap and never to shrink it.

    Never an error: where there is no glibc everything stays as it is, and the result is False. It is the same as
    `GLIBC_TUNABLES=glibc.malloc.mmap_threshold=...:glibc.malloc.trim_threshold=...`, however the program was started.
    """
    if (libc := _glibc()) is None:
        return False
    mapped = libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_INT)
    return bool(mapped and libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT))


def use_one_heap() -> bool:
    """Make all threads share one heap; before the first thread begins.

    For a process that makes threads for each case, and many cases: glibc gives threads heaps of their own, up to eight
    for each core, and what one of them has freed no other uses. A service held half as much again after fifty cases.
    """
    return (libc := _glibc()) is not None and bool(libc.mallopt(_M_ARENA_MAX, 1))


def return_freed_blocks() -> None:
    """Give the system what was kept, where a step begins that needs other memory than the network."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
