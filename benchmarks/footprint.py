"""Seconds and memory of the shapes of the paper's Table 5, and the size of the model as in Table 2.

Usage: python -m benchmarks.footprint CT WEIGHTS REPORT [SLICES...]

CT is a real CT; it is resampled to the eight shapes of Table 5 (or to those of SLICES). WEIGHTS is a folder of weights,
or `coarse` for the paper's network with random weights. Cold is one start of `predict.sh` for each case, by `flare-eval
efficiency`, as the challenge measures. Warm is the second time that one process segments the case, its model loaded and
its file read again; measured for three of the shapes.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import dated, made_with
from benchmarks.volumes import TABLE_5, make_volume
from flare_eval.efficiency.case_run import EFFICIENCY_FILE, CaseRun, read_runs
from flare_infer.backends.allocator import keep_freed_blocks
from flare_infer.backends.device import choose_compute
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.model.model_file import read_model_file
from flare_infer.model.network import UNet
from flare_infer.model.weights import save_model
from flare_infer.segment.segmenter import Segmenter
from train.recipes import recipe as recipes

ROOT = Path(__file__).resolve().parent.parent
COARSE = "coarse"
ROUNDS = 2
DIGITS = (2, 0, 0, 0, 2, 2)
WARM = (55, 215, 554)
"""Box of the cases that are also measured warm."""


def main(source: Path, weights: str, report: Path, depths: list[int]) -> None:
    """Make the volumes, measure, and write the report."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / COARSE if weights == COARSE else Path(weights)
        if weights == COARSE:
            torch.manual_seed(0)
            spec = recipes.coarse().spec
            save_model(model, spec, UNet(spec.network, spec.classes))
        size, made = _size(model), made_with(model)
        cts = Path(folder) / "cts"
        cts.mkdir()
        for depth in depths:
            make_volume(source, depth, cts / f"{depth:04}_0000.nii.gz")
        cold = _cold(cts, model, Path(folder) / "results")
        windows = {depth: _windows(Path(folder) / "results" / "logs", f"{depth:04}") for depth in depths}
        warm = {depth: _warm(cts / f"{depth:04}_0000.nii.gz", model) for depth in depths if depth in WARM}
    lines = [
        f"# Seconds and memory of the shapes of Table 5: {weights if weights == COARSE else model.name}",
        "",
        dated("footprint.py"),
        made,
        "",
        f"A real CT resampled to each shape. Cold: one start of `predict.sh` a case. Warm: the last of {ROUNDS} rounds "
        "in a process. The default configuration; GPU columns are empty where there is none.",
        "",
        "| size | thickness (mm) | windows run | cold (s) | peak RAM (MB) | peak GPU (MB) | GPU area (MB s) | warm (s) "
        "| warm: all but the network (s) |",
        "|:---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for depth in depths:
        run, again = cold[f"{depth:04}"], warm.get(depth, {})
        numbers = (run.seconds, run.ram_max_mb, run.gpu_max_mb, run.gpu_area_mb_s, *map(again.get, ("seconds", "rest")))
        cells = [
            "" if number is None else f"{number:.{digits}f}" for number, digits in zip(numbers, DIGITS, strict=True)
        ]
        lines.append(f"| 512 x 512 x {depth} | {TABLE_5[depth]:g} | {windows[depth]} | {' | '.join(cells)} |")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join([*lines, "", *size]) + "\n", encoding="utf-8")


def _size(weights: Path) -> list[str]:
    """Parameters and operations of one patch, as in Table 2."""
    spec = read_model_file(weights).spec
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


def _cold(cts: Path, weights: Path, results: Path) -> dict[str, CaseRun]:
    """Seconds and memory of each case, from what `flare-eval efficiency` writes."""
    command = [sys.executable, "-c", "from flare_eval.commands.app import main; main()", "efficiency"]
    # With exec there is one process: what several share is asked of the kernel, 20 times a second, and that slowed
    # what was measured by almost half.
    command += ["--cases", str(cts), "--command", f"cd '{ROOT}' && exec sh predict.sh", "--out", str(results)]
    folders = {
        "FLARE_WEIGHTS": str(weights.resolve()),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # where predict.sh finds its python3
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(command, env={**os.environ, **folders}, check=True)
    return read_runs(results / EFFICIENCY_FILE)


def _windows(logs: Path, case: str) -> str:
    """Windows that ran and in all, from what the command said of a case."""
    said = "".join(path.read_text(encoding="utf-8") for path in logs.glob(f"{case}*"))
    found = re.search(r"(\d+ of \d+) windows", said)
    return found[1] if found else ""


def _warm(image: Path, weights: Path) -> dict[str, Any]:
    """The last of some rounds in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.footprint", "--warm", str(image), str(weights)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _rounds(image: Path, weights: Path) -> None:
    """Read, segment and write a case several times with one loaded model; print the last round."""
    keep_freed_blocks()
    segmenter = Segmenter.load(weights, choose_compute(window_work=read_model_file(weights).spec.window_work))
    network = 0.0

    def run(batch_nczyx: Tensor) -> Tensor:
        nonlocal network
        started = time.perf_counter()
        logits = segmenter.run(batch_nczyx)
        if logits.is_cuda:
            torch.cuda.synchronize()
        network += time.perf_counter() - started
        return logits

    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            network, started = 0.0, time.perf_counter()
            found = replace(segmenter, run=run).segment(read_volume(image))
            write_volume(Path(folder) / "labels.nii.gz", found.labels)
            seconds = time.perf_counter() - started
    print(
        json.dumps({"seconds": seconds, "rest": seconds - network, "ran": found.windows_ran, "windows": found.windows})
    )


if __name__ == "__main__":
    if sys.argv[1] == "--warm":
        _rounds(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), [int(text) for text in sys.argv[4:]] or list(TABLE_5))
