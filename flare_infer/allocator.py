"""How memory is asked of the system: set once, before torch allocates.

A forward pass allocates and frees tensors of up to 300 MB. The system hands out such blocks in pages of 4 kB, cleared
one by one when first touched, which took a third of the time of a pass (benchmarks/forward.py measures it).
"""

import ctypes
import os
import platform
from pathlib import Path
from typing import Final

HUGE_PAGES_VARIABLE: Final = "THP_MEM_ALLOC_ENABLE"
"""What torch reads at its first allocation: whether to ask for pages of 2 MB."""

_HUGE_PAGES_SETTING: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST_INT: Final = 2**31 - 1


def prepare_allocator() -> None:
    """Have large tensors in huge pages; where the system gives none, keep freed blocks instead of returning them.

    Keeping costs about 0.4 GB more at the peak, since blocks of many sizes fragment the heap; so it is only the second
    choice. Never an error: on a system that knows neither, everything stays as it is. A variable that the user has set
    is respected.
    """
    os.environ.setdefault(HUGE_PAGES_VARIABLE, "1")
    if not _huge_pages_on_request():
        keep_freed_blocks()


def keep_freed_blocks() -> bool:
    """Tell glibc to serve blocks of any size from its heap and never to shrink it; False where there is no glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mapped, trimmed = mallopt(_M_MMAP_THRESHOLD, _LARGEST_INT), mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)
    return bool(mapped and trimmed)


def _huge_pages_on_request() -> bool:
    """Whether Linux gives huge pages to who asks for them: its setting shows the choice in brackets."""
    try:
        return "[never]" not in _HUGE_PAGES_SETTING.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return False
