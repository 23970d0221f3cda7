"""Label maps drawn as text, written as files of two folders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from flare_infer.formats.volume_io import write_volume
from flare_infer.volume.volume import Placement, Volume

Draw = Callable[..., npt.NDArray[Any]]
Save = Callable[..., Path]


@pytest.fixture
def draw() -> Draw:
    """One slice, a row a word: digits are codes, `.` is background, `T` is tumor."""

    def draw(picture: str) -> npt.NDArray[Any]:
        codes = {".": 0, "T": 14, **{str(code): code for code in range(10)}}
        return np.array([[[codes[letter] for letter in row] for row in picture.split()]], dtype=np.uint8)

    return draw


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write an array as `tmp_path / name`, on a grid of 2 x 1 x 1 mm unless told otherwise."""

    def save(name: str, array_zyx: npt.NDArray[Any], spacing_z_mm: float = 2.0, origin_x_mm: float = 0.0) -> Path:
        placement = Placement(
            spacing_mm=(spacing_z_mm, 1.0, 1.0),
            origin_mm=(origin_x_mm, 0.0, 0.0),
            axes=((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
        )
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        write_volume(path, Volume(array_zyx=array_zyx, placement=placement))
        return path

    return save
