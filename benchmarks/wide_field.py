"""What air and padding around a scan change: organs claimed outside of it, organs lost in it.

Usage: python -m benchmarks.wide_field DATA WEIGHTS REPORT [CASE ...]

DATA holds ct/NAME_0000.nii.gz. Each CT is segmented as it is, then with padding around it, with noisy air as a wider
reconstruction would have, and on the grid of another scan; by the weights as they are, and by the same weights with
`body_only` off, which segment all of a scan, as until version 0.1.0. What is compared are the labels of one model with
each other.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the field's own alias

from benchmarks.machine import dated, made_with
from flare_eval.accuracy.dice import dice_of_masks
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.geometry import voxel_volume_ml
from flare_infer.segment.segmenter import Segmenter
from flare_infer.volume.volume import Volume

PADDINGS: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "150 mm in the plane": ((0, 0), (150, 150), (150, 150)),
    "240 mm in the plane": ((0, 0), (240, 240), (240, 240)),
    "300 mm on three sides": ((0, 300), (300, 0), (0, 300)),
    "60 mm above and below": ((60, 60), (0, 0), (0, 0)),
}
VALUES: Final = (-1024.0, -2048.0, -3024.0, -32768.0, 0.0, float("nan"))
FEW: Final = (-1024.0, 0.0)
LARGE_ML: Final = 20.0
"""Organs whose DSC is reported: smaller ones change by percents when a grid moves by half a voxel."""

Labels = npt.NDArray[np.uint8]
Figures = tuple[float, float, float]


def main(data: Path, weights: Path, report: Path, names: list[str]) -> None:
    """Segment every CT in every way, and write the report."""
    now = Segmenter.load(weights)
    before = replace(now, spec=replace(now.spec, body_only=False))
    kept = report.with_suffix(".jsonl")
    known = {tuple(row[:3]): row[3] for row in map(json.loads, kept.read_text().splitlines())} if kept.exists() else {}
    for name in names:
        scan = read_volume(data / "ct" / f"{name}_0000.nii.gz")
        for who, segmenter in (("before", before), ("now", now)):
            reference = segmenter.segment(scan).labels.array_zyx
            for title, wide, back in _variants(scan):
                for skipping in (True, False) if title.endswith("-1024") else (True,):
                    what = title if skipping else f"{title}, --no-skip"
                    if (name, what, who) in known:
                        continue
                    found = replace(segmenter, skipping=skipping).segment(wide).labels
                    figures = known[name, what, who] = _figures(reference, back(found), found, scan)
                    print(name, what, who, *(f"{value:.3f}" for value in figures), flush=True)
                    with kept.open("a") as file:
                        file.write(json.dumps([name, what, who, figures]) + "\n")
    worst: dict[tuple[str, str], Figures] = {}
    for (name, what, who), figures in known.items():
        if name in names:
            outside, change, dice = worst.get((what, who), (0.0, 0.0, 1.0))
            worst[what, who] = (max(outside, figures[0]), max(change, figures[1]), min(dice, figures[2]))
    lines = [
        "# Air and padding around a scan",
        "",
        dated("wide_field.py"),
        made_with(weights),
        "",
        f"{len(names)} real CTs ({', '.join(names)}); the worst of them in each row, compared with what the same model "
        "finds in the CT as it is. Volume changed: of any class where the patient is. DSC: of the class of at least "
        f"{LARGE_ML:g} mL that changed most. Before: nothing is known of padding and body (`body_only` false).",
        "",
        "| around the CT | mL claimed outside, before | now | volume changed, before | now | least DSC, before | now |",
        "|:---|---:|---:|---:|---:|---:|---:|",
    ]
    for what in dict.fromkeys(what for what, _ in worst):
        (out_0, change_0, dice_0), (out_1, change_1, dice_1) = worst[what, "before"], worst[what, "now"]
        lines.append(
            f"| {what} | {out_0:.1f} | {out_1:.1f} | {change_0:.1%} | {change_1:.1%} | {dice_0:.3f} | {dice_1:.3f} |"
        )
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _variants(scan: Volume) -> Iterator[tuple[str, Volume, Any]]:
    """(what was done, the new scan, a function that brings its labels back to the old grid)."""
    for where, widths_mm in PADDINGS.items():
        widths = [
            (round(one / spacing), round(other / spacing))
            for (one, other), spacing in zip(widths_mm, scan.placement.spacing_mm, strict=True)
        ]
        inside = tuple(slice(one, one + length) for (one, _), length in zip(widths, scan.shape, strict=True))
        for value in VALUES if where.startswith("300") else FEW:
            stored = scan.array_zyx.astype(np.float32) if np.isnan(value) else scan.array_zyx
            padded = np.pad(stored, widths, constant_values=stored.dtype.type(value))
            yield f"{where}, {value:g}", replace(scan, array_zyx=padded), lambda found, box=inside: found.array_zyx[box]
        if "plane" in where:
            padded = np.pad(scan.array_zyx.astype(np.float32), widths, constant_values=np.nan)
            noise = np.random.default_rng(0).normal(-990, 25, padded.shape).astype(np.float32)
            noisy = replace(scan, array_zyx=np.where(np.isnan(padded), noise, padded))
            yield f"{where}, noisy air", noisy, lambda found, box=inside: found.array_zyx[box]
    for degrees, value in ((0.0, -1024.0), (15.0, -1024.0), (15.0, 0.0)):
        other = _on_another_grid(scan, degrees, value)
        yield (
            f"grid of another scan, turned by {degrees:g} degrees, {value:g}",
            other,
            lambda found: sitk.GetArrayFromImage(_resampled(_image(found), _image(scan), sitk.sitkNearestNeighbor, 0)),
        )


def _on_another_grid(scan: Volume, degrees: float, value: float) -> Volume:
    """The scan on a grid of 700 x 700 mm and 100 mm more along z, of other voxels, turned about z, by ITK."""
    image = _image(scan)
    spacing = (1.7, 1.7, 2.2)
    length_z = scan.shape[0] * scan.placement.spacing_mm[0] + 100
    size = [round(700 / 1.7), round(700 / 1.7), round(length_z / 2.2)]
    grid = sitk.Image(size, sitk.sitkUInt8)
    grid.SetSpacing(spacing)
    turn = sitk.Euler3DTransform((0, 0, 0), 0, 0, np.deg2rad(degrees))
    direction = np.array(turn.GetMatrix()).reshape(3, 3) @ np.array(image.GetDirection()).reshape(3, 3)
    grid.SetDirection(direction.ravel().tolist())
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
    reach = direction @ [(n - 1) / 2 * mm for n, mm in zip(size, spacing, strict=True)]
    grid.SetOrigin((middle - reach).tolist())
    return _volume(_resampled(image, grid, sitk.sitkLinear, value))


def _resampled(image: Any, grid: Any, how: int, value: float) -> Any:
    return sitk.Resample(image, grid, sitk.Transform(), how, value)


def _image(volume: Volume) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.mha"
        write_volume(path, volume)
        return sitk.ReadImage(str(path))


def _volume(image: Any) -> Volume:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.mha"
        sitk.WriteImage(image, str(path))
        return read_volume(path)


def _figures(reference: Labels, inside: Labels, found: Volume, scan: Volume) -> Figures:
    """Milliliters claimed outside of the CT, largest change of a volume in it, least DSC of a large class."""
    ml, found_ml = (voxel_volume_ml(one.placement.spacing_mm) for one in (scan, found))
    outside = np.count_nonzero(found.array_zyx) * found_ml - np.count_nonzero(inside) * ml
    change, least = 0.0, 1.0
    for code in np.unique(reference)[1:]:
        before, after = reference == code, inside == code
        change = max(change, abs(int(after.sum()) - int(before.sum())) / int(before.sum()))
        if before.sum() * ml >= LARGE_ML:
            least = min(least, dice_of_masks(after, before))
    return max(0.0, float(outside)), change, least


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
