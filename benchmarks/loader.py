"""Our loader against nnU-Net's own: the same cases, patches of the same size, two workers each, alternating runs.

Usage: python -m benchmarks.loader PEER_PYTHON DATA REPORT [SECONDS]

PEER_PYTHON is the Python of an environment with nnunetv2; DATA holds ct/NAME_0000.nii.gz, ct/NAME_labels.nii.gz and
ct/annotated.json. The peer's side is in `loader_peer.py`. Each run draws for SECONDS (6 by default), three times each.
"""

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.machine import dated
from flare_infer.labels import CODES
from train.augment.patch import Patch
from train.batches.buffer import PatchBuffer
from train.batches.samples import Samples
from train.batches.stream import stream_samples
from train.dataset.cases import Case
from train.recipes.recipe import TrainingRecipe, coarse
from train.store.prepare import prepare_cases
from train.store.store import read_store

ROOT: Final = Path(__file__).resolve().parent.parent
PEER: Final = ROOT / "benchmarks" / "loader_peer.py"
CASES: Final = ("ircad17", "lidc_chest", "chaos1", "hcc006_p3", "tcgaov", "hcc002_p2")
WORKERS, ROUNDS, SENT = 2, 3, 100


@dataclass(frozen=True, kw_only=True)
class Way:
    """What is compared.

    Attributes:
        name: as the report calls it.
        side: `ours` or `theirs`.
        way: as `measure` of that side knows it.
        against: the way of ours that its throughput is compared with.
    """

    name: str
    side: str
    way: str
    against: str


WAYS: Final = (
    Way(name="ours", side="ours", way="plain", against="plain"),
    Way(name="nnU-Net, the same transforms", side="theirs", way="same", against="plain"),
    Way(name="nnU-Net, the same, labels of the nearest voxel", side="theirs", way="nearest", against="plain"),
    Way(name="nnU-Net as it configures itself: turned in the plane alone", side="theirs", way="own", against="plain"),
    Way(name="ours, elastic", side="ours", way="elastic", against="elastic"),
    Way(name="nnU-Net, the same transforms, elastic", side="theirs", way="elastic", against="elastic"),
)


def main(peer: str, data: Path, report: Path, seconds: float) -> None:
    """Prepare both sides, measure in turn, write the report."""
    with tempfile.TemporaryDirectory() as scratch:
        store, theirs = Path(scratch) / "store", Path(scratch) / "theirs"
        _prepare(peer, data, store, theirs)
        found: dict[str, list[dict[str, float]]] = {way.name: [] for way in WAYS}
        for turn in range(ROUNDS):
            for way in WAYS:
                if way.side == "ours":
                    command = [sys.executable, "-m", "benchmarks.loader", "--ours", str(store), way.way, str(seconds)]
                else:
                    command = [peer, str(PEER), "measure", str(theirs), way.way, str(WORKERS), str(seconds)]
                found[way.name].append(json.loads(_run(command)))
                print(turn, way.name, found[way.name][-1], flush=True)
    version = _run([peer, "-c", "import importlib.metadata as m; print(m.version('nnunetv2'), end='')"])
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(_lines(found, version, _sent())) + "\n", encoding="utf-8")


def _prepare(peer: str, data: Path, store: Path, theirs: Path) -> None:
    annotated = json.loads((data / "ct" / "annotated.json").read_text(encoding="utf-8"))
    cases = [
        Case(
            name=name,
            image=data / "ct" / f"{name}_0000.nii.gz",
            labels=data / "ct" / f"{name}_labels.nii.gz",
            annotated=tuple(sorted(annotated[name])),
        )
        for name in CASES
    ]
    prepare_cases(cases, coarse().spec, store, workers=WORKERS)
    arrays: dict[str, Any] = {}
    for case in read_store(store):
        labels_zyx = np.asarray(case.labels_zyx)
        arrays[f"image_{case.name}"] = np.asarray(case.image_zyx)
        arrays[f"labels_{case.name}"] = np.where(np.isin(labels_zyx, CODES), labels_zyx, np.uint8(0))
    np.savez(store / "all.npz", **arrays)
    _run([peer, str(PEER), "prepare", str(store / "all.npz"), str(theirs)])


def _lines(found: dict[str, list[dict[str, float]]], version: str, sent: dict[str, float]) -> list[str]:
    rates = {name: [run["samples"] / run["seconds"] for run in runs] for name, runs in found.items()}
    middle = {name: statistics.median(each) for name, each in rates.items()}
    lines = [
        "# Our loader against nnU-Net's own",
        "",
        f"{dated('loader.py', 'numpy', 'blosc2')} The peer: nnunetv2 {version}.",
        "",
        f"{len(CASES)} real CTs at 2.5 x 1.5 x 1.5 mm, patches of 32 x 192 x 192, batches of 4, {WORKERS} worker "
        "processes a side, each on one thread; from our store, and from nnU-Net's files with its data loader in the "
        "multi-threaded augmenter of its trainer, with the transforms of its trainer. No targets for deep supervision "
        f"on either side. Median of {ROUNDS} alternating runs, the smallest and largest in brackets; memory is the "
        "largest resident size that a worker ever had, shared libraries and all.",
        "",
        "Both turn, scale, blur, coarsen and so on with the same probabilities, and mirror z and y. Where a patch is "
        "turned, nnU-Net's labels are the class that wins by linear interpolation, ours are those of the nearest "
        "voxel; a line has nnU-Net take the nearest, too.",
        "",
        "Processor time is that of the workers and of the process that takes from them: other work on the machine "
        "changes it less.",
        "",
        "| loader | samples a second | ours is faster | processor time (ms) | ours takes less | a worker (MB) |",
        "|:---|---:|---:|---:|---:|---:|",
    ]
    spent = {name: statistics.median(run["processor_ms"] for run in runs) for name, runs in found.items()}
    for way in WAYS:
        each = rates[way.name]
        own = next(other.name for other in WAYS if (other.side, other.way) == ("ours", way.against))
        faster, less = middle[own] / middle[way.name], spent[way.name] / spent[own]
        cells = [
            *(way.name, f"{middle[way.name]:.1f} ({min(each):.1f} - {max(each):.1f})"),
            *("" if way.name == own else f"{faster:.1f} times", f"{spent[way.name]:.0f}"),
            "" if way.name == own else f"{less:.1f} times",
            f"{max(run['worker_mb'] for run in found[way.name]):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "## From a worker to the main process",
        "",
        f"Processor time of both for a patch that is there already, image in float32 and labels; mean of {SENT}.",
        "",
        "| way | ms |",
        "|:---|---:|",
        *(f"| {name} | {milliseconds:.1f} |" for name, milliseconds in sent.items()),
    ]
    return lines


def _run(command: list[str]) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment).stdout


def measure(store: Path, way: str, seconds: float) -> dict[str, float]:
    """Draw for some seconds after every worker has drawn."""
    recipe = _recipe(elastic=0.2 if way == "elastic" else 0.0)
    samples = Samples(recipe, read_store(store))
    with closing(stream_samples(samples, range(recipe.steps), range(recipe.batch), WORKERS)) as batches:
        for _ in range(2 * WORKERS):
            next(batches)
        processes = [child.pid for child in multiprocessing.active_children()]
        spent = -time.process_time() - _processor_seconds(processes)
        started, drawn = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            drawn += len(next(batches))
        took = time.perf_counter() - started
        spent += time.process_time() + _processor_seconds(processes)
        peak_mb = max(_peak_mb(process) for process in processes)
    return {"samples": drawn, "seconds": took, "processor_ms": spent / drawn * 1e3, "worker_mb": peak_mb}


def _processor_seconds(processes: Sequence[int | None]) -> float:
    """What they have used, the system's share included."""
    texts = [Path(f"/proc/{process}/stat").read_text(encoding="utf-8") for process in processes]
    fields = [text.rpartition(")")[2].split() for text in texts]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def _recipe(elastic: float) -> TrainingRecipe:
    paper = coarse()
    spatial = replace(paper.augmentation.spatial, elastic_probability=elastic)
    return replace(paper, cutmix=False, augmentation=replace(paper.augmentation, spatial=spatial))


def _peak_mb(process: int | None) -> float:
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


_PATCH: Final = coarse().spec.patch
_IMAGE: Final = torch.zeros(_PATCH)
_LABELS: Final = torch.zeros(_PATCH, dtype=torch.uint8)
_buffers: list[PatchBuffer] = []


def _begin(buffer: PatchBuffer) -> None:
    torch.set_num_threads(1)
    _buffers.append(buffer)


def _by_pipe(number: int) -> tuple[Any, Any]:
    return _IMAGE.numpy(), _LABELS.numpy()


def _by_memory(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    return _IMAGE.clone(), _LABELS.clone()


def _by_buffer(number: int) -> Patch:
    return _buffers[0].put(number % 8, Patch(image_zyx=_IMAGE, labels_zyx=_LABELS, annotated=()))


def _sent() -> dict[str, float]:
    """Milliseconds to bring a patch over in three ways."""
    context = multiprocessing.get_context("spawn")
    buffer = PatchBuffer(8, _PATCH, context)
    found = {}
    with ProcessPoolExecutor(1, context, initializer=_begin, initargs=(buffer,)) as pool:
        for name, send in (("pipe", _by_pipe), ("shared memory made anew", _by_memory), ("our slots", _by_buffer)):
            for count in (4, SENT):
                worker = [child.pid for child in multiprocessing.active_children()]
                spent = -time.process_time() - _processor_seconds(worker)
                for number, sent in enumerate(pool.map(send, range(count))):
                    if isinstance(sent, Patch):
                        buffer.take(number % 8, sent)
                    else:
                        torch.as_tensor(sent[0]).clone()
                spent += time.process_time() + _processor_seconds(worker)
                found[name] = spent / count * 1e3
    return found


if __name__ == "__main__":
    if sys.argv[1] == "--ours":
        print(json.dumps(measure(Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]))))
    else:
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]) if len(sys.argv) > 4 else 6.0)
