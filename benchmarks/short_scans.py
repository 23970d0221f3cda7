"""What a model finds in slabs cut from CTs: with air above and below them, and with their end slices repeated first.

Usage: python -m benchmarks.short_scans DATA WEIGHTS REPORT CASE [CASE ...]

DATA holds ct/NAME_0000.nii.gz, ct/NAME_labels.nii.gz and ct/annotated.json. Slabs of several thicknesses are cut about
the middle of the liver and of the left kidney; what is found in them is compared with what the same model finds there
in the whole CT, and with the reference. The whole CTs that are shorter than a window along z are compared, too.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.machine import dated, made_with
from flare_eval.accuracy.dice import dice_of_masks
from flare_eval.label_maps.annotations import FILE_NAME, read_annotations
from flare_infer.formats.volume_io import read_volume
from flare_infer.geometry import voxel_volume_ml
from flare_infer.labels import LEFT_KIDNEY, LIVER, NAMES
from flare_infer.segment.segmenter import Segmenter

THICKNESSES_MM: Final = (20, 30, 45, 60, 90)
REPEATED_MM: Final = {"air": 0.0, "slices": 32.0}
LEAST_ML: Final = 2.0
"""Of a class in a slab, in what it is compared with; of less a DSC says little."""

Labels = npt.NDArray[np.uint8]
Scores = dict[tuple[str, str, int, int], list[float]]
"""DSC by (compared with, padding, thickness, code)."""


def main(data: Path, weights: Path, report: Path, names: list[str]) -> None:
    """Segment every slab in both ways and write the report."""
    segmenter = Segmenter.load(weights)
    ways = {way: replace(segmenter, spec=replace(segmenter.spec, repeated_mm=mm)) for way, mm in REPEATED_MM.items()}
    annotations = read_annotations(data / "ct" / FILE_NAME)
    scores: Scores = defaultdict(list)
    short: list[str] = []
    for name in names:
        scan = read_volume(data / "ct" / f"{name}_0000.nii.gz")
        reference = read_volume(data / "ct" / f"{name}_labels.nii.gz").array_zyx
        spacing_mm, codes = scan.placement.spacing_mm, annotations.codes_of(name)
        voxel_ml = voxel_volume_ml(spacing_mm)
        whole = {way: one.segment(scan).labels.array_zyx for way, one in ways.items()}
        if len(scan.array_zyx) * spacing_mm[0] < segmenter.spec.patch[0] * segmenter.spec.spacing_mm[0]:
            means = [np.mean([dice_of_masks(whole[way] == code, reference == code) for code in codes]) for way in ways]
            length_mm = len(scan.array_zyx) * spacing_mm[0]
            short.append(f"| {name} | {length_mm:.0f} | {len(codes)} | {means[0]:.3f} | {means[1]:.3f} |")
        for thickness in THICKNESSES_MM:
            for part in _slabs(whole["air"], thickness, spacing_mm[0]):
                for way, one in ways.items():
                    found = one.segment(replace(scan, array_zyx=scan.array_zyx[part])).labels.array_zyx
                    for against, truth in (("own", whole["air"][part]), ("reference", reference[part])):
                        for code in codes if against == "reference" else range(1, len(NAMES)):
                            if np.count_nonzero(truth == code) * voxel_ml >= LEAST_ML:
                                dice = dice_of_masks(found == code, truth == code)
                                scores[against, way, thickness, code].append(dice)
        print(name, flush=True)
    lines = [
        f"# Short scans: {segmenter.spec.name}",
        "",
        dated("short_scans.py"),
        made_with(weights),
        "",
        f"Slabs of {len(names)} real CTs ({', '.join(names)}) about the middle of the liver and of the left kidney. "
        "Mean DSC with air above and below the slab (as until 0.1.0) / with its end slices repeated for "
        f"{REPEATED_MM['slices']:g} mm before that, of classes of at least {LEAST_ML:g} mL in the slab; in brackets "
        "the number of slabs.",
        "",
        "## Against what the same model finds there in the whole CT",
        "",
        *_table(scores, "own"),
        "",
        "## Against the reference",
        "",
        *_table(scores, "reference"),
        "",
        "## Whole CTs that are shorter than a window",
        "",
        "Mean DSC of the annotated classes against the reference. The weights have seen most of these CTs.",
        "",
        "| CT | length, mm | classes | air | slices |",
        "|:---|---:|---:|---:|---:|",
        *short,
    ]
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _slabs(whole: Labels, thickness_mm: float, spacing_mm: float) -> Iterator[slice]:
    count = max(1, round(thickness_mm / spacing_mm))
    for code in (LIVER, LEFT_KIDNEY):
        places = np.flatnonzero((whole == code).any(axis=(1, 2)))
        if len(places):
            start = max(0, min(len(whole) - count, int(places.mean()) - count // 2))
            yield slice(start, start + count)


def _table(scores: Scores, against: str) -> list[str]:
    lines = [
        f"| class | {' | '.join(f'{thickness} mm' for thickness in THICKNESSES_MM)} |",
        f"|:---|{'---:|' * len(THICKNESSES_MM)}",
    ]
    for code in (*range(1, len(NAMES)), 0):
        cells = []
        for thickness in THICKNESSES_MM:
            every = [code] if code else range(1, len(NAMES))
            air, slices = (
                [dice for one in every for dice in scores[against, way, thickness, one]] for way in REPEATED_MM
            )
            cells.append(f"{np.mean(air):.2f} / {np.mean(slices):.2f} ({len(air)})" if air else "")
        lines.append(f"| {NAMES[code] if code else 'all'} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
