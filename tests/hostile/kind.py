"""A kind of hostile input: what it is, how its file is written, and the result that is expected."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Outcome = Literal["segmented", "refused", "passed over"]

SPACING_MM = (3.0, 2.0, 1.5)
"""Of most scans, along (z, y, x): that of the model, so that every voxel's label is known."""

BRIGHT_HU, DARK_HU = 100, -1000


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What the label map of a scan must be.

    Attributes:
        bright_zyx: where the scan is bright: label 1, elsewhere 0.
        margin_zyx: voxels around an edge, along each axis, where resampling leaves both labels right.
        geometry: (size, spacing, origin, direction) as ITK has them; None if SimpleITK reads them from the input.
    """

    bright_zyx: np.ndarray
    margin_zyx: tuple[int, int, int] = (0, 0, 0)
    geometry: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of input.

    Attributes:
        file: name of the file (or folder, link, pipe) that is written.
        sentence: what it is, for docs/inputs.md.
        outcome: what must happen.
        words: what the line about it must say, besides the file's name: that of a refusal, or a notice.
        write: makes it at a path; returns what its label map must be if it is segmented.
        display: how the file is called in the table, where its name cannot be shown.
    """

    file: str
    sentence: str
    outcome: Outcome
    write: Callable[[Path], Truth | None]
    words: str = ""
    display: str = ""

    @property
    def name(self) -> str:
        return self.display or self.file


def pattern(shape: tuple[int, int, int] = (7, 13, 11)) -> np.ndarray:
    """An asymmetric pattern of bright voxels, three in ten; the first is bright."""
    bright = np.random.default_rng(5).random(shape) < 0.3
    bright[0, 0, 0] = True
    return bright


def intensities(bright_zyx: np.ndarray, dtype: str = "<i2") -> np.ndarray:
    return np.where(bright_zyx, BRIGHT_HU, DARK_HU).astype(dtype)
