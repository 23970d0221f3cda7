"""Seconds and memory of the shapes of the paper's Table 5, and the size of the model as in Table 2.

Usage: python -m benchmarks.footprint CT WEIGHTS REPORT [SLICES...]

CT is a real CT; it is resampled to the eight shapes of Table 5 (or to those of SLICES). Cold is one start of `predict.sh`
for each case, by `flare-eval efficiency`, as the challenge measures. Warm is the second time that one process segments
the case, its model loaded and its file read again.
"""

import csv
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import machine
from benchmarks.volumes import TABLE_5, make_volume
from flare_infer.model_file import read_spec
from flare_infer.network import UNet

ROOT = Path(__file__).resolve().parent.parent


def main(source: Path, weights: Path, report: Path, depths: list[int]) -> None:
    """Make the volumes, measure, and write the report."""
    spec = read_spec(weights)
    with tempfile.TemporaryDirectory() as folder:
        cts = Path(folder) / "cts"
        cts.mkdir()
        for depth in depths:
            make_volume(source, depth, cts / f"{depth:04}_0000.nii.gz")
        cold = _cold(cts, weights, Path(folder) / "results")
        warm = {depth: _warm(cts / f"{depth:04}_0000.nii.gz", weights) for depth in depths}
    lines = [
        f"# Seconds and memory of the shapes of Table 5: {spec.name}",
        "",
        f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}, {machine()}. Written by `benchmarks/footprint.py`.",
        "",
        "A real CT resampled to each shape. Cold: one start of `predict.sh` a case. Warm: the second time in one process.",
        "",
        "| size | thickness (mm) | windows run | cold (s) | peak RAM (MB) | peak GPU (MB) | area (MB s) | warm (s) | "
        "warm: all but the network (s) | plan |",
        "|:---|---:|---:|---:|---:|---:|---:|---:|---:|:---|",
    ]
    for depth in depths:
        run, again = cold[f"{depth:04}"], warm[depth]
        lines.append(
            f"| 512 x 512 x {depth} | {TABLE_5[depth]:g} | {again['ran']} of {again['windows']} | {run['seconds']} | "
            f"{run['ram']} | {run['gpu']} | {run['area']} | {again['seconds']:.2f} | {again['rest']:.2f} | {again['plan']} |"
        )
    lines += ["", *_size(weights)]
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _size(weights: Path) -> list[str]:
    """Parameters and operations of one patch, as in Table 2."""
    spec = read_spec(weights)
    with torch.device("meta"):
        network = UNet(spec.network, spec.classes).eval()
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            network(torch.zeros(1, 1, *spec.patch))
    parameters = sum(tensor.numel() for tensor in network.parameters())
    patch = " x ".join(str(size) for size in spec.patch)
    return [
        f"{parameters / 1e6:.2f} million parameters, {counter.get_total_flops() / 2e9:.1f} GMAC "
        f"({counter.get_total_flops() / 1e9:.1f} GFLOP) for a patch of {patch}, counted by PyTorch's own counter."
    ]


def _cold(cts: Path, weights: Path, results: Path) -> dict[str, dict[str, str]]:
    """Seconds and memory of each case, from what `flare-eval efficiency` writes."""
    command = [sys.executable, "-c", "from flare_eval.cli import main; main()", "efficiency"]
    command += ["--cases", str(cts), "--command", f"cd '{ROOT}' && sh predict.sh", "--out", str(results)]
    places = {
        "FLARE_WEIGHTS": str(weights.resolve()),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # where predict.sh finds its python3
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(command, env={**os.environ, **places}, check=True)
    with (results / "efficiency.csv").open(encoding="utf-8", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def _warm(image: Path, weights: Path) -> dict[str, Any]:
    """The second of two rounds in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.footprint", "warm", str(image), str(weights)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), [int(text) for text in sys.argv[4:]] or list(TABLE_5))
