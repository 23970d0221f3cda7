"""What all outputs together add to a run over a DICOM series of 512 x 512 x 554, in seconds and memory.

Usage: python -m benchmarks.outputs CT WEIGHTS REPORT

CT is a real scan, enlarged to that grid and written as a series. `flare-infer predict` runs on it without and with all
outputs, by turns, each time as a process of its own.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
from pydicom import uid
from scipy import ndimage

from benchmarks.dicom_reading import write_series
from benchmarks.machine import dated, made_with
from flare_infer.formats.volume_io import read_volume
from flare_infer.runs.report import REPORT_FILE
from flare_infer.volume.orient import turn

SHAPE: Final = (554, 512, 512)
RUNS: Final = 6
EVERYTHING: Final = ("--to", "dicom-seg,rtstruct,masks,color-table", "--statistics", "--preview", "--report")
WAYS: Final = {"the label map": (), "everything": EVERYTHING}


def main(ct: Path, weights: Path, report: Path) -> None:
    """Measure every way and write the report."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as place:
        series = Path(place, "series")
        _write(ct, series)
        for _ in range(RUNS):
            for name, options in WAYS.items():
                with tempfile.TemporaryDirectory(dir=place) as outputs:
                    found[name].append(_measured(series, Path(outputs), weights, options))
                print(name, found[name][-1], flush=True)
    plain = _medians(found["the label map"])
    rows = []
    for name, runs in found.items():
        seconds, processor, memory = _medians(runs)
        rows.append(
            f"| {name} | {seconds:.1f} | {seconds - plain[0]:+.1f} | {processor:.1f} | {processor - plain[1]:+.1f} "
            f"| {memory:.0f} | {memory - plain[2]:+.0f} |"
        )
    lines = [
        "# What the outputs add to a run",
        "",
        dated("outputs.py", "numpy", "pydicom", "pillow", "contourpy"),
        made_with(weights),
        "",
        f"`flare-infer predict` on a DICOM series of 512 x 512 x 554 ({ct.name.partition('_0000')[0]}, enlarged), a "
        f"process of its own and a new folder each time, {RUNS} runs by turns, medians. Seconds are those of the whole "
        "process; memory is the most that it held.",
        "",
        "| written | seconds | more | processor seconds | more | MiB | more |",
        "|:---|---:|---:|---:|---:|---:|---:|",
        *rows,
    ]
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write(ct: Path, folder: Path) -> None:
    # The series is written as if its rows ran to the left and its columns to the back: turned so, organs are found.
    scan_zyx = turn(read_volume(ct), "LPS")[0].array_zyx
    factors = [wanted / size for wanted, size in zip(SHAPE, scan_zyx.shape, strict=True)]
    large_zyx = ndimage.zoom(scan_zyx.astype(np.float32), factors, order=1, grid_mode=True, mode="nearest")
    large_zyx = np.clip(np.rint(large_zyx), -1024, 3071).astype(np.int16)
    write_series(folder, large_zyx, list(range(SHAPE[0])), uid.ExplicitVRLittleEndian)


def _measured(series: Path, outputs: Path, weights: Path, options: tuple[str, ...]) -> tuple[float, float, float]:
    """Seconds, processor seconds and MiB of one run."""
    command = [sys.executable, "-m", "flare_infer", "predict", series, outputs, "--weights", weights]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*map(str, command), *options], check=True, stdout=subprocess.DEVNULL, env=os.environ)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    (case,) = json.loads((outputs / REPORT_FILE).read_text())["cases"]
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, spent, float(case["peak_memory_mib"])


def _medians(runs: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    seconds, processor, memory = (statistics.median(values) for values in zip(*runs, strict=True))
    return seconds, processor, memory


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
