"""What a training step of the recipe `lite` takes on the CPU, by how memory is asked of the system.

Usage: python -m benchmarks.training_step REPORT

Each way is a process of its own that learns from one random batch again and again, in alternation with the others.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import dated

ROOT = Path(__file__).resolve().parent.parent
STEPS = 20
ROUNDS = 2
WAYS = {
    "as glibc does": {},
    "freed blocks are kept, as `flare-train fit` does": {"KEEP": "1"},
    "the same, and huge pages": {"KEEP": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
}


def main(report: Path) -> None:
    """Measure and write the report."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, settings in WAYS.items():
            command = [sys.executable, "-m", "benchmarks.training_step", "--one"]
            done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, **settings})
            found[way].append(json.loads(done.stdout))
    lines = [
        "# A training step of `lite` on the CPU",
        "",
        dated("training_step.py"),
        "",
        f"Median of {STEPS} steps after two others on a batch of random numbers, without reading and augmentation.",
        f"The better of {ROUNDS} alternating runs of each way. Peak memory is that of the process.",
        "",
        "| memory | seconds a step | peak memory (MB) |",
        "|:---|---:|---:|",
    ]
    for way, runs in found.items():
        seconds, peak_mb = min(runs)
        lines.append(f"| {way} | {seconds:.2f} | {peak_mb:.0f} |")
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure() -> tuple[float, float]:
    """Seconds a step and peak memory in MB of this process."""
    if os.environ.get("KEEP"):
        from flare_infer.backends.allocator import keep_freed_blocks

        keep_freed_blocks()
    import torch

    from train.augment.patch import Patch
    from train.fit.ranks import Ranks
    from train.fit.state import State
    from train.fit.step import DeeplySupervised, train_step
    from train.recipes.recipe import lite

    recipe, device = lite(), torch.device("cpu")
    state = State.begin(recipe, device)
    patches = [
        Patch(
            image_zyx=torch.randn(recipe.spec.patch),
            labels_zyx=torch.randint(0, recipe.spec.classes, recipe.spec.patch, dtype=torch.uint8),
            annotated=tuple(range(1, recipe.spec.classes)),
        )
        for _ in range(recipe.batch)
    ]
    times = []
    for _ in range(STEPS + 2):
        started = time.perf_counter()
        train_step(recipe, state, DeeplySupervised(state.network), patches, Ranks(device=device))
        times.append(time.perf_counter() - started)
        state.step += 1
    return statistics.median(times[2:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        print(json.dumps(measure()))
    else:
        main(Path(sys.argv[1]))
