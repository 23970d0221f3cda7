"""NSD of real label maps, deformed by known shifts and erosions, against the package `surface-distance`.

Usage: python -m benchmarks.same_as_surface_distance DATA REPORT [EVERY]

DATA holds ct/NAME_labels.nii.gz and folders of label maps in labels/. EVERY is a step: 5 takes every fifth map
(default 1).
"""

import datetime
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmarks.organizers import nsd
from flare_eval.accuracy.classes import TOLERANCES_MM
from flare_eval.accuracy.surface import surface_dice
from flare_infer.formats.volume_io import read_volume

SHIFTS = ((0, 1, -1), (1, 3, 2), (2, -5, 4))
MARGIN = 6


def main(data: Path, report: Path, every: int) -> None:
    """Compare all maps and write the report."""
    maps = [*sorted((data / "ct").glob("*_labels.nii.gz")), *sorted((data / "labels").rglob("*.nii.gz"))][::every]
    compared, worst, masks = 0, 0.0, 0
    for path in maps:
        volume = read_volume(path)
        spacing_mm = volume.placement.spacing_mm
        for code in np.unique(volume.array_zyx[volume.array_zyx > 0]).tolist():
            masks += 1
            reference = around(volume.array_zyx == code)
            for prediction in deformed(reference):
                found = surface_dice(prediction, reference, spacing_mm, TOLERANCES_MM[code])
                expected = nsd(prediction, reference, list(spacing_mm), TOLERANCES_MM[code])
                difference = abs(found - expected)
                if not difference <= 1e-6:
                    raise SystemExit(f"{path}, class {code}: {found}, expected {expected}")
                worst = max(worst, difference)
                compared += 1
        print(path.name, compared, worst, flush=True)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(
        "# NSD against `surface-distance` on real label maps\n\n"
        f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}, surface-distance {version('surface-distance')}, numpy "
        f"{version('numpy')}, scipy {version('scipy')}. Written by `benchmarks/same_as_surface_distance.py`.\n\n"
        f"{len(maps)} label maps, {masks} organs and tumors, each shifted by {SHIFTS} voxels along (z, y, x) and "
        f"eroded by one voxel, at the challenge's tolerances: {compared} comparisons, largest difference "
        f"{worst:.1e}.\n",
        encoding="utf-8",
    )


def around(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask with a margin wider than any shift."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    return np.pad(mask[box], MARGIN)


def deformed(mask: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[Any]]:
    """The mask shifted and eroded."""
    for shift in SHIFTS:
        yield np.roll(mask, shift, axis=(0, 1, 2))
    yield ndimage.binary_erosion(mask)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
