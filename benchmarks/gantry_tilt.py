"""What a tilted gantry changes: the labels of tilted slices of a CT against those of the CT as it is.

Usage: python -m benchmarks.gantry_tilt DATA WEIGHTS REPORT CASE ...

DATA holds ct/NAME_0000.nii.gz. Of each CT slices are cut by ITK as a tilted gantry would measure them (linear
interpolation), written as a DICOM series, read and segmented, and the labels brought back to the slices. They are
compared there with what the model finds in the CT as it is (nearest voxel). So are those of the same planes without the
shift, which tells apart what the tilt of the planes costs, and what the shift. The patient's own edge is cut, too: the
first and the last slices leave the CT.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the field's own alias

from benchmarks.machine import dated, made_with
from flare_eval.accuracy.dice import dice_of_masks
from flare_infer.dicom.find import dicom_files, find_series
from flare_infer.dicom.tilt import labels_on_slices
from flare_infer.dicom.volume import read_series
from flare_infer.formats.volume_io import read_volume
from flare_infer.geometry import voxel_volume_ml
from flare_infer.labels import NAMES
from flare_infer.segment.segmenter import Segmenter
from flare_infer.volume.orient import turn
from flare_infer.volume.volume import Volume
from tests.dicom.series import Made, write

TILTS_DEG: Final = (5.0, 15.0, 25.0)
SMALL_ML: Final = 20.0
"""Organs below this are reported apart."""


@dataclass(frozen=True)
class Cut:
    """Slices cut out of a CT: their places, and CT or labels on them."""

    made: Made
    tilt_deg: float


def main(data: Path, weights: Path, report: Path, names: list[str]) -> None:
    """Segment every CT upright and tilted, and write the report."""
    segmenter = Segmenter.load(weights)
    rows = []
    dice: dict[tuple[float, str], list[tuple[str, int, bool, float]]] = {}
    for name in names:
        scan, _ = turn(read_volume(data / "ct" / f"{name}_0000.nii.gz"), "LPS")
        truth = segmenter.segment(scan).labels
        for tilt_deg in TILTS_DEG:
            for way in ("planes alone", "tilted"):
                made = _cut(scan, tilt_deg, way == "tilted")
                wanted = np.stack(_planes(truth, made, sitk.sitkNearestNeighbor, 0))
                found = _found(segmenter, made)
                for code in np.unique(wanted)[1:].tolist():
                    large = float(np.sum(wanted == code)) * voxel_volume_ml(made.spacing) >= SMALL_ML
                    value = dice_of_masks(found == code, wanted == code)
                    dice.setdefault((tilt_deg, way), []).append((name, code, large, value))
                print(name, tilt_deg, way, dice[tilt_deg, way][-len(np.unique(wanted)) + 1 :], flush=True)
    for tilt_deg in TILTS_DEG:
        cells = []
        for way in ("planes alone", "tilted"):
            found = dice[tilt_deg, way]
            large = [value for _, _, is_large, value in found if is_large]
            small = [value for _, _, is_large, value in found if not is_large]
            worst = min((one for one in found if one[2]), key=lambda one: one[3])
            cells += [f"{np.mean(large):.3f}", f"{worst[3]:.3f} ({NAMES[worst[1]]})", f"{np.mean(small):.3f}"]
        rows.append(f"| {tilt_deg:g} | {' | '.join(cells[3:])} | {' | '.join(cells[:3])} |")
    lines = [
        "# A tilted gantry",
        "",
        dated("gantry_tilt.py"),
        made_with(weights),
        "",
        f"DSC of the labels on tilted slices with those of the CT as it is, {', '.join(names)}. Large: organs of at "
        f"least {SMALL_ML:g} mL on the slices. Planes alone: the same planes without the shift; what is lost there "
        "is lost to the turned view of the patient and to the corners that leave the CT.",
        "",
        "| tilt (degrees) | large, mean | worst | small, mean | planes alone: large | worst | small |",
        "|---:|---:|:---|---:|---:|:---|---:|",
        *rows,
    ]
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cut(scan: Volume, tilt_deg: float, shifted: bool) -> Made:
    """Slices of a tilted gantry through all of an upright scan: each shifted along the table, or along its normal."""
    tilt = np.radians(tilt_deg)
    depth_mm, height_mm, width_mm = (size * mm for size, mm in zip(scan.shape, scan.placement.spacing_mm, strict=True))
    axes = (1.0, 0.0, 0.0, 0.0, float(np.cos(tilt)), float(-np.sin(tilt)))
    step = scan.placement.spacing_mm[0] * np.cos(tilt)
    count = round((depth_mm * np.cos(tilt) + height_mm * np.sin(tilt)) / step)
    lean_mm = float(step * np.tan(tilt)) if shifted else 0.0
    middle = np.asarray(scan.placement.origin_mm) + np.asarray((width_mm, height_mm, depth_mm)) / 2
    way = np.cross(axes[:3], axes[3:]) * step + np.asarray(axes[3:]) * -lean_mm
    corner = middle - way * (count - 1) / 2 - np.asarray(axes[3:]) * height_mm / 2 - np.asarray(axes[:3]) * width_mm / 2
    empty = np.zeros((count, *scan.shape[1:]), np.int16)
    spacing = (float(step), *scan.placement.spacing_mm[1:])
    made = Made(
        array_zyx=empty, axes=axes, origin=tuple(corner.tolist()), spacing=spacing, lean_mm=-lean_mm, intercept=-1024.0
    )
    empty[:] = np.clip(np.stack(_planes(scan, made, sitk.sitkLinear, -1024)), -1024, 3071)
    return made


def _planes(volume: Volume, made: Made, how: int, outside: float) -> list[npt.NDArray[Any]]:
    """What lies on the slices of a series, by ITK."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array_zyx))
    image.SetSpacing(volume.placement.spacing_mm[::-1])
    image.SetOrigin(volume.placement.origin_mm)
    image.SetDirection(np.asarray(volume.placement.axes)[::-1].T.ravel().tolist())
    planes = []
    for index in range(len(made.array_zyx)):
        grid = sitk.Image([*made.array_zyx.shape[:0:-1], 1], sitk.sitkUInt8)
        grid.SetSpacing((made.spacing[2], made.spacing[1], 1.0))
        grid.SetOrigin(made.position(index))
        grid.SetDirection(np.stack([made.axes[:3], made.axes[3:], made.normal], axis=1).ravel().tolist())
        found = sitk.Resample(image, grid, sitk.Transform(), how, outside)
        planes.append(np.rint(sitk.GetArrayFromImage(found)[0]).astype(np.int16))
    return planes


def _found(segmenter: Segmenter, made: Made) -> npt.NDArray[Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = write(Path(place), made)
        (series,), _ = find_series(folder, dicom_files(folder, None))
        volume = read_series(series)
        print(f"{series.tilt_deg:.2f} degrees, {volume.shape}", flush=True)
        labels = labels_on_slices(segmenter.segment(volume).labels.array_zyx, series)
    upward = series.slices[0].position_mm[2] < series.slices[-1].position_mm[2]
    return labels if upward == (made.position(0)[2] < made.position(1)[2]) else labels[::-1]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
