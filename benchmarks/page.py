"""What a preview, a page and the index of a case cost: time, memory and bytes, beside reading the same scan.

A real scan is repeated and cut to the size that is asked for, so that noise and anatomy are real.
"""

import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.machine import dated
from flare_infer import labels
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.geometry import Shape
from flare_infer.page.index import indexed, write_index
from flare_infer.page.preview import draw_preview, write_preview
from flare_infer.page.report import write_report
from flare_infer.results.case import CaseStatistics, ClassStatistics, SegmentedCase
from flare_infer.results.organ_volumes import cut_by_edge, volumes_ml
from flare_infer.volume.volume import Volume

SHAPES: Final[tuple[Shape, ...]] = ((133, 512, 512), (554, 512, 512))
REPEATS: Final = 5


def main(scan: Path, label_map: Path, report: Path) -> None:
    """Measure, and write the report.

    Args:
        scan: a real CT of 512 x 512 voxels a slice.
        label_map: its label map.
        report: the report to write.
    """
    lines = [
        "# What a picture and a page of a case cost",
        "",
        dated("page.py", "numpy", "pillow", "jinja2"),
        "",
        f"{scan.name.partition('_0000')[0]}, repeated along z and cut to size, int16; the best of {REPEATS}, in "
        "seconds of the processor (`time.process_time`), since other programs ran at the same time. Memory is what the "
        "step allocates at most at one time (`tracemalloc`), on top of the scan and its labels. Reading is that of the "
        "same scan as `.nii.gz`.",
        "",
        "| voxels (z, y, x) | what | seconds | memory, MB | file, MB |",
        "|---|---|---|---|---|",
    ]
    for shape in SHAPES:
        lines += _rows(_case(read_volume(scan), read_volume(label_map), shape))
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _rows(case: SegmentedCase) -> list[str]:
    size = " x ".join(map(str, case.scan.shape))
    statistics = _statistics(case)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_volume(place / "scan.nii.gz", case.scan)
        steps: dict[str, tuple[Callable[[], object], Path]] = {
            "reading the scan": (lambda: read_volume(place / "scan.nii.gz"), place / "scan.nii.gz"),
            "preview (PNG)": (lambda: write_preview(place / "a.png", case, statistics), place / "a.png"),
            "page (HTML)": (lambda: write_report(place / "a.html", case, statistics), place / "a.html"),
            "both, drawn once": (lambda: _both(place, case, statistics), place / "a.html"),
            "index of 100 cases": (
                lambda: write_index(place / "index.html", [indexed(statistics, "a.html", "a.png")] * 100),
                place / "index.html",
            ),
        }
        return [
            f"| {size} | {name} | {_seconds(step):.2f} | {_megabytes(step):.0f} | {file.stat().st_size / 1e6:.1f} |"
            for name, (step, file) in steps.items()
        ]


def _both(place: Path, case: SegmentedCase, statistics: CaseStatistics) -> None:
    picture = draw_preview(case, statistics)
    write_preview(place / "a.png", case, statistics, picture)
    write_report(place / "a.html", case, statistics, picture)


def _seconds(step: Callable[[], object]) -> float:
    def once() -> float:
        start = time.process_time()
        step()
        return time.process_time() - start

    return min(once() for _ in range(REPEATS))


def _megabytes(step: Callable[[], object]) -> float:
    tracemalloc.start()
    step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


def _case(scan: Volume, label_map: Volume, shape: Shape) -> SegmentedCase:
    def repeated(volume: Volume, kind: type[np.generic]) -> Volume:
        times = -(-shape[0] // volume.shape[0])
        array = np.concatenate([volume.array_zyx.astype(kind)] * times)[: shape[0], : shape[1], : shape[2]]
        mm = 1.0 if times > 1 else volume.placement.spacing_mm[0]
        place = replace(volume.placement, spacing_mm=(mm, *volume.placement.spacing_mm[1:]))
        return replace(volume, array_zyx=np.ascontiguousarray(array), placement=place)

    return SegmentedCase(
        name="case", scan=repeated(scan, np.int16), labels=repeated(label_map, np.uint8), names=labels.NAMES
    )


def _statistics(case: SegmentedCase) -> CaseStatistics:
    volumes = volumes_ml(case.labels.array_zyx, case.labels.placement.spacing_mm)
    cut = cut_by_edge(case.labels.array_zyx)
    classes = [
        ClassStatistics(code=code, name=labels.NAMES[code], volume_ml=volume, cut=code in cut)
        for code, volume in volumes.items()
    ]
    return CaseStatistics(name=case.name, classes=tuple(classes))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
