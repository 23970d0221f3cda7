"""What preparing the longest scan of the paper's Table 5 takes, and what reading a patch of it takes.

Usage: python -m benchmarks.store DATA REPORT

DATA holds ct/lidc_chest_0000.nii.gz and ct/lidc_chest_labels.nii.gz. The CT is resampled to 512 x 512 x 554 and
prepared for the paper's coarse and fine spacing, and for the coarse one with its labels cleaned, each in a process of
its own; peak memory is the largest resident size of that process, libraries and all. Its labels have boxes of tumor and
specks beside them, so that every rule of cleaning has something to do.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.machine import dated
from benchmarks.volumes import make_volume
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.labels import LIVER, TUMOR
from train.dataset.cases import Case
from train.dataset.clean import CleaningRules
from train.recipes.recipe import coarse
from train.store.prepare import prepare_cases
from train.store.store import read_store

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "lidc_chest"
SLICES = 554
ANNOTATED = (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, TUMOR)
COARSE_MM, FINE_MM = (2.5, 1.5, 1.5), (2.5, 0.82, 0.82)
CLEANING = CleaningRules(organs_needed=(LIVER,))
ROWS = ((COARSE_MM, None), (COARSE_MM, CLEANING), (FINE_MM, None))
TUMORS, SPECKS = 5, 200
PATCH = (32, 192, 192)
READS = 50


def main(data: Path, report: Path) -> None:
    """Make the scan, measure both spacings, write the report."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_volume(data / "ct" / f"{SOURCE}_0000.nii.gz", SLICES, Path(folder) / "scan_0000.nii.gz")
        make_volume(data / "ct" / f"{SOURCE}_labels.nii.gz", SLICES, Path(folder) / "scan.nii.gz", nearest=True)
        add_tumors(Path(folder) / "scan.nii.gz")
        for index in range(len(ROWS)):
            command = [sys.executable, "-m", "benchmarks.store", "--one", folder, str(index)]
            rows.append(json.loads(subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout))
    lines = [
        "# Preparing a scan of 512 x 512 x 554",
        "",
        dated("store.py", "numpy", "blosc2"),
        "",
        f"A real CT of the chest, resampled. A patch has {' x '.join(map(str, PATCH))} voxels, image and labels;",
        f"median of {READS} random ones, the file in the page cache.",
        "",
        "| spacing (mm) | cleaned | voxels | prepare (s) | peak memory (MB) "
        "| raw (MB) | stored (MB) | read a patch (ms) |",
        "|:---|:---|:---|---:|---:|---:|---:|---:|",
    ]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def add_tumors(path: Path) -> None:
    """Boxes of tumor in the liver, and specks of three voxels anywhere."""
    volume = read_volume(path)
    array, rng = volume.array_zyx.astype(np.uint8), np.random.default_rng(0)
    liver = np.argwhere(array == LIVER)
    for z, y, x in liver[rng.integers(len(liver), size=TUMORS)]:
        array[max(0, z - 6) : z + 6, y - 10 : y + 10, x - 10 : x + 10] = TUMOR
    for z, y, x in (rng.random((SPECKS, 3)) * np.asarray(array.shape)).astype(int):
        array[z, y, x : x + 3] = TUMOR
    write_volume(path, replace(volume, array_zyx=array))


def measure(folder: Path, index: int) -> list[str]:
    """The row of one spacing."""
    spacing_mm, cleaning = ROWS[index]
    case = Case(name="scan", image=folder / "scan_0000.nii.gz", labels=folder / "scan.nii.gz", annotated=ANNOTATED)
    store = folder / f"store{index}"
    started = time.perf_counter()
    prepare_cases([case], replace(coarse().spec, spacing_mm=spacing_mm), store, cleaning=cleaning)
    seconds = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (prepared,) = read_store(store)
    stored = sum(path.stat().st_size for path in (store / "scan").iterdir())
    rng = np.random.default_rng(0)
    times = []
    for _ in range(READS):
        z, y, x = (int(rng.integers(max(1, most - size))) for most, size in zip(prepared.shape, PATCH, strict=True))
        box = (slice(z, z + PATCH[0]), slice(y, y + PATCH[1]), slice(x, x + PATCH[2]))
        started = time.perf_counter()
        for array in (prepared.image_zyx, prepared.labels_zyx):
            array[box]
        times.append(time.perf_counter() - started)
    return [
        *(" x ".join(map(str, spacing_mm)), "no" if cleaning is None else "yes"),
        *(" x ".join(map(str, prepared.shape)), f"{seconds:.1f}", f"{peak_mb:.0f}"),
        *(f"{np.prod(prepared.shape) * 3 / 1e6:.0f}", f"{stored / 1e6:.0f}", f"{statistics.median(times) * 1e3:.1f}"),
    ]


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        os.write(1, json.dumps(measure(Path(sys.argv[2]), int(sys.argv[3]))).encode())
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
