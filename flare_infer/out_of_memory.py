"""How libraries say that memory ran out: each in its own way."""

from typing import Final

_WORDS: Final = ("can't allocate memory", "not enough memory", "cannot allocate memory", "bad_alloc", "out of memory")
"""Of RuntimeErrors: torch's on the host, C++'s own, and CUDA's."""


def ran_out_of_memory(error: Exception) -> bool:
    """Whether an error means that the host or a device had no memory left."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)
