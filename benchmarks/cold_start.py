"""From the start of the process to the first window, stage by stage: what every case pays in the challenge.

Usage: python -m benchmarks.cold_start SCAN REPORT WEIGHTS...

The stages are those of `flare-infer predict` in its order, each timed in a new process; the fastest and the median of
several processes are reported. The files are in the system's cache, as they are not when a container first starts.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import dated, made_with

ROOT = Path(__file__).resolve().parent.parent
STARTS = 5


def main(scan: Path, report: Path, models: list[Path]) -> None:
    """Start often, and write the report."""
    lines = ["# From process start to the first window", "", dated("cold_start.py"), ""]
    for model in models:
        runs = [_in_a_process(scan, model) for _ in range(STARTS)]
        lines += [
            f"## {model.name}, {scan.name}",
            "",
            made_with(model),
            "",
            "| stage | fastest (s) | median (s) |",
            "|---|---|---|",
        ]
        for stage in runs[0]:
            values = [run[stage] for run in runs]
            lines.append(f"| {stage} | {min(values):.2f} | {statistics.median(values):.2f} |")
        totals = [sum(run.values()) for run in runs]
        lines += [f"| **first window begins** | **{min(totals):.2f}** | **{statistics.median(totals):.2f}** |", ""]
    report.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _in_a_process(scan: Path, model: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", str(scan), str(model)]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "STARTED": repr(time.time())}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    stages: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return stages


def _one(scan: Path, model: Path) -> None:
    """Do what the command does, and print the seconds of every stage as JSON."""
    stages: dict[str, float] = {}
    last = float(os.environ["STARTED"])

    def done(stage: str) -> None:
        nonlocal last
        now = time.time()
        stages[stage] = now - last
        last = now

    done("Python starts")
    from flare_infer.commands import app as cli  # noqa: F401 - imported for its time

    done("the command's own imports (typer)")
    from flare_infer.backends.allocator import keep_freed_blocks

    keep_freed_blocks()
    import torch  # noqa: F401 - imported for its time

    done("import torch")
    from rich.progress import Progress  # noqa: F401 - imported for its time

    from flare_infer.backends.device import choose_compute
    from flare_infer.backends.runner import make_runner
    from flare_infer.formats.volume_io import read_volume
    from flare_infer.model.weights import load_networks
    from flare_infer.runs import folder  # noqa: F401 - imported for their time
    from flare_infer.segment import segmenter  # noqa: F401 - imported for their time
    from flare_infer.segment.preprocess import preprocess
    from flare_infer.volume.orient import turn

    done("the other imports (SimpleITK, safetensors, rich)")
    compute = choose_compute("cpu")
    spec, networks = load_networks(model, compute.device)
    done("load the weights")
    make_runner(networks[0], spec, compute)
    done(f"prepare the network ({compute.backend}, {compute.precision})")
    volume = read_volume(scan)
    done("read the scan")
    preprocess(turn(volume, spec.orientation, spec.transpose)[0], spec, compute.device)
    done("turn, normalize, resample")
    print(json.dumps(stages))


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        _one(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
