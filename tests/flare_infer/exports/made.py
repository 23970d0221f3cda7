"""Cases whose series was written by a test, with label maps that are hard to outline."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_infer.dicom.find import dicom_files, find_series
from flare_infer.dicom.volume import read_series
from flare_infer.labels import NAMES
from flare_infer.results.case import SegmentedCase
from tests.dicom.series import Made, phantom, write, write_enhanced

SHAPE = (12, 21, 27)
"""No plane holds a multiple of eight pixels."""

Labels = npt.NDArray[np.uint8]


def volume(seed: int = 0) -> npt.NDArray[np.int16]:
    return phantom(SHAPE, seed)


def hard_labels(shape: tuple[int, int, int] = SHAPE) -> Labels:
    """A ring with an island in its hole, a shape at the edges, single and diagonal pixels, a class in one plane."""
    labels = np.zeros(shape, np.uint8)
    labels[1:8, 3:16, 4:20] = 1
    labels[2:7, 5:13, 6:16] = 0
    labels[3:6, 8:10, 9:12] = 1
    labels[2:7, 14, 5:18:2] = 0  # small holes side by side
    labels[5:, 17:, :6] = 3
    labels[6, 18, 2] = 0
    labels[4, 18, 20] = labels[4, 19, 21] = labels[4, 20, 20] = 5
    labels[9, 2:12, 22:25] = 13
    labels[9, 5, 23] = 14
    return labels


def case(
    folder: Path,
    made: Made | None = None,
    labels: Labels | None = None,
    *,
    leave: tuple[int, ...] = (),
    enhanced: bool = False,
    **values: Any,
) -> SegmentedCase:
    """A series that is written into a folder and read back, with a label map."""
    made = made or Made(array_zyx=volume())
    if enhanced:
        folder.mkdir(parents=True, exist_ok=True)
        write_enhanced(folder, made)
    else:
        write(folder, made, leave)
    ((series,), _) = find_series(folder, dicom_files(folder, None), fill_gaps=bool(leave))
    assert not series.problem
    scan = read_series(series)
    found = SegmentedCase(
        name=series.name,
        scan=scan,
        labels=replace(scan, array_zyx=hard_labels() if labels is None else labels),
        names=NAMES,
        source=series,
        made_with={"model": "lite", "weights_sha256": "0123456789abcdef" * 4},
    )
    return replace(found, **values)
