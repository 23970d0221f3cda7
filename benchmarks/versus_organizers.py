"""Scoring one large case: time and memory against the organizers' way, each side in a process of its own.

Usage: python -m benchmarks.versus_organizers REFERENCE REPORT

REFERENCE is a label map of 512 x 512 x 300 or more voxels; organs of the 13 that it lacks are painted into its
background. The prediction is the reference, shifted and worn down. Both sides read the same two files; time is that
of the whole process, from start to end, and memory the largest resident size the kernel saw.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.machine import dated
from flare_eval.accuracy.classes import TOLERANCES_MM
from flare_eval.accuracy.mode import Mode
from flare_eval.accuracy.pairing import PredictionPair
from flare_eval.accuracy.scoring import score_case
from flare_eval.accuracy.surface import surface_dice
from flare_eval.label_maps.boxes import joint_boxes
from flare_infer import labels
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.volume.volume import Volume

SLICES = 300
CORES = 2
REPEATS = 3
SHIFT = (1, 2, -2)
FEW_VOXELS = 5000


def main(source: Path, report: Path) -> None:
    """Make the pair, run both sides, and write the report."""
    with tempfile.TemporaryDirectory() as folder:
        reference, prediction = Path(folder) / "reference.nii.gz", Path(folder) / "prediction.nii.gz"
        made = _run("make", source, reference, prediction)
        ours = [_run("ours", prediction, reference) for _ in range(REPEATS)]
        theirs = _run("theirs", prediction, reference)
        arrays = _run("arrays", prediction, reference)
    typical = sorted(ours, key=lambda side: side["seconds"])[REPEATS // 2]
    peak = max(side["peak_mb"] for side in ours)
    apart = max(
        abs(one - other)
        for code, scores in theirs["scores"].items()
        for one, other in zip(scores, typical["scores"][code], strict=True)
    )
    runs = ", ".join(f"{side['seconds']:.2f} s" for side in ours)
    lines = [
        "# Scoring one large case, against the organizers' way",
        "",
        dated("versus_organizers.py", "numpy", "scipy", "SimpleITK", "surface-distance", "nibabel"),
        "",
        f"One pair of label maps, {made['shape']} voxels of {made['spacing']} mm, {made['organs']} organs; both sides",
        f"read the two files. Ours uses {CORES} threads (median of {REPEATS} runs, largest peak of them); the",
        "organizers' way is `benchmarks/organizers.py`.",
        "",
        "| | seconds, whole process | peak memory (MB) |",
        "|:---|---:|---:|",
        f"| organizers' way | {theirs['seconds']:.2f} | {theirs['peak_mb']:.0f} |",
        f"| `flare_eval`, official mode | {typical['seconds']:.2f} | {peak:.0f} |",
        f"| ratio | {theirs['seconds'] / typical['seconds']:.1f} | {theirs['peak_mb'] / peak:.2f} |",
        "",
        f"All our runs: {runs}. Without start-up and imports {typical['work_seconds']:.2f} s against",
        f"{theirs['work_seconds']:.2f} s. Largest difference of a score, both sides rounded to 4 decimals: {apart:g}.",
        "",
        "## NSD alone, on masks already in memory, one thread, against `surface-distance`",
        "",
        "Both crop to the joint box of the two masks.",
        "",
        "| class | `surface-distance` (s) | ours (s) | factor | difference |",
        "|:---|---:|---:|---:|---:|",
        *(_row(labels.NAMES[int(code)], row, f"{row['difference']:.1e}") for code, row in arrays["classes"].items()),
        _row("all", arrays, ""),
    ]
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _row(name: str, row: dict[str, Any], difference: str) -> str:
    factor = row["theirs"] / row["ours"]
    return f"| {name} | {row['theirs']:.3f} | {row['ours']:.3f} | {factor:.1f} | {difference} |"


def _run(side: str, *files: Path) -> dict[str, Any]:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, side, *(str(file) for file in files)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    print(side, f"{seconds:.2f} s", file=sys.stderr, flush=True)
    return {**json.loads(done.stdout), "seconds": seconds}


def make_pair(source: Path, reference: Path, prediction: Path) -> dict[str, Any]:
    """Write the two files."""
    volume = read_volume(source)
    codes = volume.array_zyx[:SLICES].astype(np.uint8)
    _paint_missing(codes)
    write_volume(reference, Volume(array_zyx=codes, placement=volume.placement))
    moved = np.roll(codes, SHIFT, axis=(0, 1, 2))
    rng = np.random.default_rng(0)
    holes = rng.integers(0, codes.shape, size=(400, 3))
    for z, y, x in holes.tolist():
        moved[z : z + 2, y : y + 9, x : x + 9] = 0
    write_volume(prediction, Volume(array_zyx=moved, placement=volume.placement))
    organs = np.intersect1d(np.unique(codes), labels.ORGANS).size
    spacing = " x ".join(f"{value:.2f}" for value in reversed(volume.placement.spacing_mm))
    return {"shape": " x ".join(str(n) for n in reversed(codes.shape)), "spacing": spacing, "organs": organs}


def _paint_missing(codes: npt.NDArray[np.uint8]) -> None:
    """Tubes for the vessels, a mirrored kidney, and small bodies for the rest, where there is background."""
    depth, rows, columns = codes.shape
    z, y, x = np.ogrid[:depth, :rows, :columns]
    middle = (rows // 2, columns // 2)
    flipped = codes[:, :, ::-1] == labels.LEFT_KIDNEY
    tubes = {labels.AORTA: (60, 15, 14), labels.INFERIOR_VENA_CAVA: (60, -20, 13), labels.ESOPHAGUS: (40, 5, 9)}
    for code in labels.ORGANS:
        if np.count_nonzero(codes == code) > FEW_VOXELS:
            continue
        if code == labels.RIGHT_KIDNEY:
            shape = flipped
        elif code in tubes:
            down, across, radius = tubes[code]
            shape = (y - middle[0] - down) ** 2 + (x - middle[1] - across) ** 2 + 0 * z < radius**2
        else:
            center = (depth // 2, middle[0] + 40, middle[1] + (60 if code == labels.LEFT_ADRENAL_GLAND else -60))
            shape = ((z - center[0]) / 12) ** 2 + ((y - center[1]) / 10) ** 2 + ((x - center[2]) / 14) ** 2 < 1
        codes[shape & (codes == labels.BACKGROUND)] = code


def run_ours(prediction: Path, reference: Path) -> dict[str, Any]:
    """Our side."""
    pair = PredictionPair(case="case", reference=reference, prediction=prediction, annotated=labels.CODES)
    scores = score_case(pair, mode=Mode.OFFICIAL, threads=CORES)
    return {str(code): [scores.dsc[code], scores.nsd[code]] for code in labels.CODES}


def run_theirs(prediction: Path, reference: Path) -> dict[str, Any]:
    """The organizers' side."""
    from benchmarks.organizers import score_files

    return {str(code): scores for code, scores in score_files(prediction, reference).items()}


def time_arrays(prediction: Path, reference: Path) -> dict[str, Any]:
    """NSD of each organ on masks in memory: the package, then ours."""
    from benchmarks.organizers import nsd

    volume = read_volume(reference)
    truth, found = volume.array_zyx, read_volume(prediction).array_zyx
    spacing = volume.placement.spacing_mm
    classes = {}
    for code in joint_boxes(found, truth):
        masks = (found == code, truth == code)
        times = []
        values = []
        for measure in (nsd, surface_dice):
            started = time.perf_counter()
            values.append(measure(*masks, spacing, TOLERANCES_MM[code]))  # type: ignore[operator]
            times.append(time.perf_counter() - started)
        classes[str(code)] = {"theirs": times[0], "ours": times[1], "difference": abs(values[0] - values[1])}
    totals = {side: sum(row[side] for row in classes.values()) for side in ("theirs", "ours")}
    return {"classes": classes, **totals}


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1024


SIDES = {"ours": run_ours, "theirs": run_theirs}

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", source, reference, prediction]:
            print(json.dumps(make_pair(Path(source), Path(reference), Path(prediction))))
        case ["arrays", prediction, reference]:
            print(json.dumps(time_arrays(Path(prediction), Path(reference))))
        case [("ours" | "theirs") as side, prediction, reference]:
            before = time.perf_counter()
            found = SIDES[side](Path(prediction), Path(reference))
            seconds = time.perf_counter() - before
            print(json.dumps({"scores": found, "work_seconds": seconds, "peak_mb": _peak_mb()}))
        case [source, report]:
            main(Path(source), Path(report))
        case _:
            raise SystemExit(__doc__)
