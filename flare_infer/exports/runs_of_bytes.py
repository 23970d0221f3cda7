"""Run-length encoding as DICOM asks for it (PS3.5, annex G)."""

from typing import Final

import numpy as np
import numpy.typing as npt

_LONGEST: Final = 128
_HEADER: Final = np.array([1, 64], "<u4").tobytes().ljust(64, b"\0")
"""One segment, which begins after these 64 bytes."""


def rle_frame(frame_yx: npt.NDArray[np.uint8], becomes: npt.NDArray[np.uint8]) -> bytes:
    """A frame of bytes, compressed.

    Every run becomes two bytes: how often, then what. One of a single byte is what the standard calls a literal.

    Args:
        frame_yx: the frame (y, x).
        becomes: what is written for each of the 256 values.
    """
    rows, columns = frame_yx.shape
    begins = np.ones((rows, columns), np.bool_)  # no run goes on in the next row
    np.not_equal(frame_yx[:, 1:], frame_yx[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=rows * columns)
    parts = -(-lengths // _LONGEST)
    counts = np.full(int(parts.sum()), _LONGEST)
    last = np.cumsum(parts) - 1
    counts[last] = lengths - (parts - 1) * _LONGEST
    pairs = np.empty((counts.size, 2), np.uint8)
    pairs[:, 0] = (257 - counts) % 256
    pairs[:, 1] = np.repeat(becomes[frame_yx.ravel()[starts]], parts)
    return _HEADER + pairs.tobytes()
