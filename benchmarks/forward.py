"""One window through the network, in every precision and backend, each in a process of its own.

Usage: python -m benchmarks.forward REPORT [WEIGHTS]

WEIGHTS is a model's folder; without it the paper's coarse network (recipe `coarse`) with random weights is measured.
"eager" is the network as training runs it; its float32 logits on noise are what differences refer to. CPU seconds count
all threads, and barely change when other programs take the cores meanwhile.
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

from benchmarks.machine import dated

ROOT = Path(__file__).resolve().parent.parent
WAYS = [
    ("eager", "fp32", "default"),
    ("eager", "bf16", "default"),
    ("eager", "fp32", "kept"),
    ("eager", "bf16", "kept"),
    ("torch", "fp32", "default"),
    ("torch", "bf16", "default"),
    ("torch", "fp32", "kept"),
    ("torch", "bf16", "kept"),
    ("torch", "fp32", "huge"),
    ("torch", "bf16", "huge"),
    ("openvino", "fp32", "kept"),
    ("openvino", "bf16", "kept"),
]
"""Backend, precision, and what the allocator does: the system's default, keeping freed blocks, or huge pages."""
PASSES = 6


def main(report: Path, weights: Path | None) -> None:
    """Measure every way and write the report."""
    with tempfile.TemporaryDirectory() as folder:
        model = weights or _random_coarse(Path(folder) / "coarse")
        reference = Path(folder) / "reference.pt"
        rows = [_in_a_process(model, reference, *way) for way in WAYS]
    lines = [
        f"# One window of {weights.name if weights else 'the coarse network, random weights'}",
        "",
        dated("forward.py", "openvino"),
        "",
        "| backend | precision | allocator | load (s) | prepare (s) | first (s) | median (s) | fastest (s) "
        "| CPU seconds | peak RSS (MB) | largest difference of logits |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {' | '.join(way)} | {row['load']:.2f} | {row['prepare']:.2f} | {row['first']:.2f} | {row['median']:.2f} "
        f"| {row['fastest']:.2f} | {row['cpu']:.2f} | {row['peak_mb']:.0f} | {row['difference']:.1e} |"
        for way, row in zip(WAYS, rows, strict=True)
    ]
    lines += ["", f"The logits go up to {rows[0]['scale']:.1f}. Peak RSS is of the whole process, torch included."]
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _random_coarse(folder: Path) -> Path:
    import torch

    from flare_infer.model.network import UNet
    from flare_infer.model.weights import save_model
    from train.recipes.recipe import coarse

    torch.manual_seed(0)
    spec = coarse().spec
    save_model(folder, spec, UNet(spec.network, spec.classes))
    return folder


def _in_a_process(model: Path, reference: Path, *way: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", str(model), str(reference), *way]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _one(model: Path, reference: Path, backend: str, precision: str, allocator: str) -> None:
    """Measure one way in this process and print what was found as JSON."""
    from flare_infer.backends.allocator import keep_freed_blocks

    os.environ["THP_MEM_ALLOC_ENABLE"] = "1" if allocator == "huge" else "0"  # read by torch at its first allocation
    if allocator == "kept":
        keep_freed_blocks()
    import torch

    from flare_infer.backends.device import choose_compute
    from flare_infer.backends.runner import make_runner
    from flare_infer.model.weights import load_model

    start = time.perf_counter()
    spec, network = load_model(model, torch.device("cpu"))
    load = time.perf_counter() - start
    start = time.perf_counter()

    def eager(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits: torch.Tensor = network(batch)
        return logits.float()

    run = eager if backend == "eager" else make_runner(network, spec, choose_compute("cpu", precision, backend))
    prepare = time.perf_counter() - start
    window = torch.randn(1, 1, *spec.patch, generator=torch.Generator().manual_seed(1))
    seconds, cpu_seconds = [], []
    with torch.inference_mode():
        for _ in range(PASSES):
            start, cpu_start = time.perf_counter(), time.process_time()
            logits = run(window)
            seconds.append(time.perf_counter() - start)
            cpu_seconds.append(time.process_time() - cpu_start)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    if not reference.exists():
        torch.save(logits, reference)
    expected = torch.load(reference, weights_only=True)
    print(
        json.dumps(
            {
                "load": load,
                "prepare": prepare,
                "first": seconds[0],
                "median": statistics.median(seconds[1:]),
                "fastest": min(seconds),
                "cpu": min(cpu_seconds),
                "peak_mb": peak_mb,
                "difference": float((logits - expected).abs().max()),
                "scale": float(expected.abs().max()),
            }
        )
    )


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        _one(Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
