"""The best that a network on a coarse grid could do: experts' labels put on that grid, and back.

Usage: python -m benchmarks.grid_ceiling DATA REPORT

DATA holds ct/ of the project's data. Every class becomes a share of each coarse voxel (smoothed to the grid, then
sampled linearly); on the expert's own grid the class with the largest share wins, as it does with a network's logits.
"""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import SimpleITK

from benchmarks.machine import dated
from flare_eval.label_maps.annotations import FILE_NAME, read_annotations
from flare_eval.reports.summary import markdown_row
from flare_infer.labels import BACKGROUND, CODES, NAMES
from scripts.starter_dataset import TRANSPOSED_CROP

GRIDS_MM = (4.0, 3.0, 2.0)
SMOOTHING = 0.35
"""Standard deviation of the Gaussian, in coarse voxels."""


def main(data: Path, report: Path) -> None:
    """Measure every grid on every labeled case, and write the report."""
    scores: dict[tuple[int, float], list[float]] = defaultdict(list)
    for name, codes in read_annotations(data / "ct" / FILE_NAME).cases.items():
        if name == TRANSPOSED_CROP:
            continue
        labels = SimpleITK.ReadImage(str(data / "ct" / f"{name}_labels.nii.gz"))
        truth_zyx = SimpleITK.GetArrayViewFromImage(labels)
        for grid_mm in GRIDS_MM:
            restored_zyx = _restored(labels, codes, grid_mm)
            for code in codes:
                one, other = truth_zyx == code, restored_zyx == code
                if one.any():
                    dice = 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))
                    scores[code, grid_mm].append(dice)
    lines = [
        "# What a grid allows",
        "",
        dated("grid_ceiling.py", "numpy", "SimpleITK"),
        "",
        "Mean DSC of experts' labels with themselves after a stay on a coarser grid: no network on that grid can be",
        "expected to do better. `weights/lite` works at 4 mm.",
        "",
        markdown_row(["class", "cases", *(f"{grid_mm:g} mm" for grid_mm in GRIDS_MM)]),
        markdown_row([":---"] + ["---:"] * (1 + len(GRIDS_MM))),
    ]
    for code in CODES:
        of_code = [scores[code, grid_mm] for grid_mm in GRIDS_MM]
        lines.append(markdown_row([NAMES[code], str(len(of_code[0])), *(f"{np.mean(one):.3f}" for one in of_code)]))
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _restored(
    labels: SimpleITK.Image, codes: tuple[int, ...], grid_mm: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    size = [round(count * mm / grid_mm) for count, mm in zip(labels.GetSize(), labels.GetSpacing(), strict=True)]
    coarse = SimpleITK.ResampleImageFilter()
    coarse.SetSize(size)
    coarse.SetOutputSpacing((grid_mm,) * 3)
    coarse.SetOutputOrigin(labels.GetOrigin())
    coarse.SetOutputDirection(labels.GetDirection())
    classes = (BACKGROUND, *codes)
    shares = []
    for code in classes:
        smooth = SimpleITK.SmoothingRecursiveGaussian(
            SimpleITK.Cast(labels == code, SimpleITK.sitkFloat32), SMOOTHING * grid_mm
        )
        outside = float(code == BACKGROUND)
        restored = SimpleITK.Resample(
            coarse.Execute(smooth), labels, SimpleITK.Transform(), SimpleITK.sitkLinear, outside
        )
        shares.append(SimpleITK.GetArrayFromImage(restored))
    return np.array(classes)[np.argmax(shares, axis=0)]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
