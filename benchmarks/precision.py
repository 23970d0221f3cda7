"""Labels in bfloat16 against labels in float32, on real CTs.

Usage: python -m benchmarks.precision DATA WEIGHTS REPORT [WAY...]

DATA holds ct/NAME_0000.nii.gz. A WAY is a backend and a precision, `torch-bf16`; by default all are compared. What is
compared are predictions with each other, so that no reference is needed: the DSC of every class that float32 finds, in
the scan's own grid.
"""

import statistics
import sys
import time
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.machine import dated, made_with
from flare_infer.backends.allocator import keep_freed_blocks
from flare_infer.backends.device import Compute
from flare_infer.formats.volume_io import find_images, read_volume
from flare_infer.model.ensemble import as_one
from flare_infer.model.spec import ModelSpec
from flare_infer.model.weights import load_networks
from flare_infer.segment.segmenter import Segmenter

CPU = torch.device("cpu")
SMALL_VOXELS = 1000
"""Where float32 finds fewer voxels of a class than this, a handful of them decides; counted apart."""


def main(data: Path, weights: Path, report: Path, wanted: list[str]) -> None:
    """Predict every scan in every way and write the report."""
    keep_freed_blocks()
    spec, networks = load_networks(weights, CPU)
    network = as_one(networks, spec.mirror_axes)
    ways = {"eager fp32": Segmenter(spec=spec, run=network)}
    choices = [("torch", "fp32"), ("torch", "bf16")]
    choices += [("openvino", "fp32"), ("openvino", "bf16")] if find_spec("openvino") else []
    chosen = [tuple(way.split("-")) for way in wanted]
    for backend, precision in chosen or choices:
        compute = Compute(device=CPU, precision=precision, backend=backend)
        ways[f"{backend} {precision}"] = Segmenter.load(weights, compute)
    scores: dict[str, dict[int, list[tuple[float, int]]]] = {name: defaultdict(list) for name in ways}
    seconds: dict[str, float] = defaultdict(float)
    images = {name: path for name, path in find_images(data / "ct").items() if path.name.endswith("_0000.nii.gz")}
    for done, path in enumerate(images.values(), start=1):
        volume = read_volume(path)
        expected = None
        for name, segmenter in ways.items():
            start = time.perf_counter()
            labels = segmenter.segment(volume).labels.array_zyx
            seconds[name] += time.perf_counter() - start
            expected = labels if expected is None else expected
            for code in range(1, spec.classes):
                mine, theirs = labels == code, expected == code
                if size := int(theirs.sum()):
                    dsc = 2 * int((mine & theirs).sum()) / (int(mine.sum()) + size)
                    scores[name][code].append((dsc, size))
        # After every scan, so that a run that is cut short leaves what it has found.
        report.write_text("\n".join(_lines(spec, made_with(weights), scores, seconds, done)) + "\n", encoding="utf-8")
        print(path.name, flush=True)


def _pooled(scores: dict[int, list[tuple[float, int]]]) -> dict[int, float]:
    """Mean DSC of every class over all scans, each weighted by how many voxels float32 finds in it."""
    return {
        code: sum(dsc * size for dsc, size in values) / sum(size for _, size in values)
        for code, values in scores.items()
        if values
    }


def _lines(
    spec: ModelSpec,
    made: str,
    scores: dict[str, dict[int, list[tuple[float, int]]]],
    seconds: dict[str, float],
    cases: int,
) -> list[str]:
    names = list(scores)[1:]
    pooled = {name: _pooled(scores[name]) for name in names}
    lines = [
        f"# {spec.name} on {cases} CTs: labels of each way against those of the float32 network as trained",
        "",
        dated("precision.py", "openvino"),
        made,
        "",
        f"Mean (least) DSC of the scans where float32 finds at least {SMALL_VOXELS} voxels of the class. In all: mean "
        "of all scans, however few voxels, weighted by their number.",
        "",
        f"| class | scans | {' | '.join(f'{name} | in all' for name in names)} |",
        f"|---|---|{'---|---|' * len(names)}",
    ]
    for code in range(1, spec.classes):
        cells = []
        for name in names:
            values = [dsc for dsc, size in scores[name][code] if size >= SMALL_VOXELS]
            cells.append(f"{statistics.mean(values):.5f} ({min(values):.4f})" if values else "-")
            cells.append(f"{pooled[name][code]:.5f}" if code in pooled[name] else "-")
        count = sum(size >= SMALL_VOXELS for _, size in scores[names[0]][code])
        lines.append(f"| {spec.labels[code]} | {count} | {' | '.join(cells)} |")
    lines += [
        "",
        "Seconds for all scans, preprocessing and decoding included: "
        + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
        + ".",
    ]
    return lines


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
