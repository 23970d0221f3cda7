"""What statistics cost on a scan of 512 x 512 x 554 voxels: seconds, memory, and the confidence in the network's run.

Usage: python -m benchmarks.statistics_cost DATA WEIGHTS REPORT

DATA holds ct/cptacluad_c3n00704_0000.nii.gz and its label map, a body from neck to thighs. Both are brought to the
grid of the largest scans of the challenge by repeating voxels, with air beside the body, and lesions are put into the
liver. A process of its own measures the memory; processor time stands beside the time on the clock, since what else
runs on a machine changes the latter more.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from benchmarks.machine import dated, made_with
from flare_infer import labels
from flare_infer.formats.volume_io import read_volume
from flare_infer.results.case import SegmentedCase
from flare_infer.results.statistics import statistics_of
from flare_infer.results.statistics_files import write_statistics
from flare_infer.segment.confidence import ConfidenceMeter
from flare_infer.segment.segmenter import SegmentationCallbacks, Segmenter
from flare_infer.volume.volume import Placement, Volume

NAME: Final = "cptacluad_c3n00704"
SHAPE: Final = (554, 512, 512)
LESIONS: Final = 30
REPEATS: Final = 3


def large_case(data: Path) -> SegmentedCase:
    """The case on the large grid."""
    scan, reference = (read_volume(data / "ct" / f"{NAME}_{kind}.nii.gz") for kind in ("0000", "labels"))
    sizes = np.multiply(scan.shape, scan.placement.spacing_mm)
    spacing_mm = (float(sizes[0] / SHAPE[0]), *(float(sizes[1:].max() / SHAPE[1]),) * 2)
    placement = Placement(spacing_mm=spacing_mm, origin_mm=(0.0, 0.0, 0.0), axes=scan.placement.axes)
    labels_zyx = enlarged(reference.array_zyx, labels.BACKGROUND)
    rng = np.random.default_rng(0)
    places = np.argwhere(labels_zyx == labels.LIVER)
    for place in places[rng.integers(0, len(places), LESIONS)]:
        half = rng.integers(2, 20)
        box = tuple(slice(max(0, at - half), at + half) for at in place)
        labels_zyx[box][labels_zyx[box] == labels.LIVER] = labels.TUMOR
    return SegmentedCase(
        name="large",
        scan=Volume(array_zyx=enlarged(scan.array_zyx, -1024), placement=placement),
        labels=Volume(array_zyx=labels_zyx, placement=placement),
        names=labels.NAMES,
        confidence=dict.fromkeys(labels.CODES, 0.9),
    )


def enlarged(array_zyx: npt.NDArray[Any], fill: int) -> npt.NDArray[Any]:
    """An array on the large grid, every voxel repeated, with `fill` above and below its rows."""
    rows = round(array_zyx.shape[1] * SHAPE[2] / array_zyx.shape[2])
    lengths = (SHAPE[0], rows, SHAPE[2])
    nearest = [np.arange(new) * old // new for new, old in zip(lengths, array_zyx.shape, strict=True)]
    result = np.full(SHAPE, fill, dtype=array_zyx.dtype)
    first = (SHAPE[1] - rows) // 2
    result[:, first : first + rows] = array_zyx[np.ix_(*nearest)]
    return result


def best_of(step: Callable[[], object]) -> tuple[float, float]:
    """The least seconds on the clock and of the processor."""
    clock, processor = [], []
    for _ in range(REPEATS):
        start, start_processor = time.perf_counter(), time.process_time()
        step()
        clock.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    return min(clock), min(processor)


def held_mib(what: str) -> float:
    """What this process holds ("VmRSS"), or the most that it held ("VmHWM"), by Linux's count."""
    return int(Path("/proc/self/status").read_text(encoding="ascii").partition(f"{what}:")[2].split()[0]) / 1024


def measure(data: Path) -> dict[str, Any]:
    """Seconds and memory of the statistics in this process."""
    case = large_case(data)
    small = SegmentedCase(
        name="small",
        scan=Volume(array_zyx=case.scan.array_zyx[:9, :9, :9], placement=case.scan.placement),
        labels=Volume(array_zyx=case.labels.array_zyx[:9, :9, :9], placement=case.scan.placement),
        names=case.names,
    )
    statistics_of(small)  # what is imported is imported
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = held_mib("VmRSS")
    statistics = statistics_of(case)
    more = held_mib("VmHWM") - before
    clock, processor = best_of(lambda: statistics_of(case))
    with tempfile.TemporaryDirectory() as folder:
        written, _ = best_of(lambda: write_statistics(Path(folder) / "statistics.json", statistics))
        size = (Path(folder) / "statistics.json").stat().st_size
    return {
        "clock": clock, "processor": processor, "more_mib": more, "written": written, "bytes": size,
        "lesions": len(statistics.lesions), "voxels": int(np.count_nonzero(case.labels.array_zyx)),
    }  # fmt: skip


def confidence_seconds(data: Path, weights: Path) -> tuple[float, float]:
    """Processor seconds of segmenting the large scan, and of the meter on the slabs of its logits."""
    segmenter, slabs = Segmenter.load(weights), list[Tensor]()
    scan = large_case(data).scan
    start = time.process_time()
    segmenter.segment(scan, SegmentationCallbacks(logits=lambda slab: slabs.append(slab.clone())))
    whole = time.process_time() - start

    def metered() -> None:
        meter = ConfidenceMeter.of(segmenter.spec)
        for slab in slabs:
            meter.take(slab)

    return whole, best_of(metered)[1]


def main(data: Path, weights: Path, report: Path) -> None:
    """Measure in processes of their own and write the report."""
    command = [sys.executable, "-m", "benchmarks.statistics_cost", "--measure", str(data)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    whole, metered = confidence_seconds(data, weights)
    lines = [
        "# What statistics cost",
        "",
        dated("statistics_cost.py"),
        made_with(weights),
        "",
        f"A scan of {SHAPE[2]} x {SHAPE[1]} x {SHAPE[0]} voxels ({NAME} on that grid), {found['voxels'] / 1e6:.1f} "
        f"million of them in a class, {found['lesions']} lesions. Best of {REPEATS}; memory is what the process held "
        "more at its peak than with scan and label map alone.",
        "",
        "| step | seconds | of the processor | more memory, MiB |",
        "|:---|---:|---:|---:|",
        f"| statistics_of | {found['clock']:.2f} | {found['processor']:.2f} | {found['more_mib']:.0f} |",
        f"| writing statistics.json ({found['bytes'] / 1024:.0f} KiB) | {found['written']:.3f} | | |",
        f"| confidence, while segmenting | | {metered:.2f} | |",
        f"| segmenting without it | | {whole:.1f} | |",
    ]
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        sys.stdout.write(json.dumps(measure(Path(sys.argv[2]))))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
