"""Arrays and files as label maps: whole numbers that are codes of the challenge."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_infer import labels
from flare_infer.errors import ImageError
from flare_infer.volume import Volume
from flare_infer.volume_io import read_volume


def label_codes(array_zyx: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    """The same label map as uint8; `name` says in errors whose it is.

    Whole numbers stored as floats are accepted: many tools write label maps so. An array that is uint8 already is
    returned itself, not a copy.

    Raises:
        ImageError: if a value is no whole number or no code from background to tumor.
    """
    if array_zyx.size == 0:
        return array_zyx.astype(np.uint8)
    if array_zyx.dtype.kind == "f":
        for plane in array_zyx:  # one slice at a time: no second full-size float array
            fractional = plane[plane != np.rint(plane)]
            if fractional.size:
                raise ImageError(f"{name}: expected whole numbers as labels, found {fractional[0]:g}")
    lowest, highest = array_zyx.min(), array_zyx.max()
    if lowest < labels.BACKGROUND or highest > labels.CODES[-1]:
        found = lowest if lowest < labels.BACKGROUND else highest
        raise ImageError(f"{name}: expected labels {labels.BACKGROUND}..{labels.CODES[-1]}, found {found:g}")
    return array_zyx.astype(np.uint8, copy=False)


def read_label_map(path: Path) -> Volume:
    """Read a label map; its array is uint8.

    Raises:
        ImageError: if the file is no volume (see `read_volume`) or its values are no codes (see `label_codes`).
    """
    volume = read_volume(path)
    return replace(volume, array_zyx=label_codes(volume.array_zyx, str(path)))
