"""Throughput of several workers against one process, and what Ray's driver and object store hold.

Usage: python -m benchmarks.scaling CASES MANY REPORT

Tiny invented scans, a tiny model, one thread for each worker: what is measured is all that lies around the network.
CASES are segmented by one process, by one and two processes with `--share`, and by one and two workers of a Ray that
runs here. Then 100 and MANY cases, of which none has a file, go through Ray with workers that answer at once.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.machine import dated
from benchmarks.tiny_cases import tiny_cases

FEW = 100
_SECONDS = 3600
_STORE_BYTES = 80 * 2**20


def main(count: int, many: int, report: Path) -> None:
    """Measure everything and write the report."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        inputs, weights = tiny_cases(place, count)
        one = _seconds(inputs, place / "one", weights)
        rows = [_row("one process", count, one, one)]
        for workers in (1, 2):
            shared = _seconds(inputs, place / f"share{workers}", weights, "--share", processes=workers)
            rows.append(_row(f"`--share`, {workers} process(es)", count, shared, one, workers))
        held: list[float] = []
        for workers in (1, 2):
            with _ray(workers) as (address, watched):
                options = ("--ray", address, "--worker-cpus", 1)
                seconds = _seconds(inputs, place / f"ray{workers}", weights, *options)
            rows.append(_row(f"`--ray`, {workers} worker(s)", count, seconds, one, workers))
            print(rows[-1], flush=True)
            held += watched
        with _ray(2) as (address, watched):
            drivers = {cases: _driver(address, cases, place) for cases in (FEW, many)}
        store_mib = max(*held, *watched)
    lines = [
        "# Several workers",
        "",
        dated("scaling.py", "ray"),
        "",
        f"{count} tiny invented scans, a tiny model with random weights, one thread for each worker; seconds from the "
        "moment when the first worker has its model. More than one process means also more than one core.",
        "",
        "| | seconds | cases/min | times one process | a case, beside the work of one process |",
        "|:---|---:|---:|---:|---:|",
        *rows,
        "",
        "| invented cases through Ray, whose workers answer at once | seconds | ms a case | driver's peak |",
        "|---:|---:|---:|---:|",
        *(
            f"| {cases} | {seconds:.1f} | {1000 * seconds / cases:.1f} | {peak:.0f} MiB |"
            for cases, (seconds, peak) in drivers.items()
        ),
        "",
        f"The most that Ray's object store held whenever it was looked at, every two seconds: {store_mib:.1f} MiB.",
    ]
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(*lines, sep="\n")


def _row(name: str, count: int, seconds: float, one: float, workers: int = 1) -> str:
    """A line of the table; the last column is worker seconds a case more than those of one process."""
    more = 1000 * (seconds * workers - one) / count
    return f"| {name} | {seconds:.1f} | {60 * count / seconds:.0f} | {one / seconds:.2f} | {more:+.0f} ms |"


def _seconds(inputs: Path, outputs: Path, weights: Path, *options: object, processes: int = 1) -> float:
    """Seconds that a run took without its start, as its report says."""
    command = [sys.executable, "-m", "flare_infer", "predict", inputs, outputs, "--weights", weights, *options]
    running = [
        subprocess.Popen(
            [*map(str, command), "--device=cpu"], stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        for _ in range(processes)
    ]
    codes = [process.wait(_SECONDS) for process in running]
    if any(codes):
        raise SystemExit(f"{outputs}: a run failed")
    found: float = json.loads((outputs / "report.json").read_text())["run"]["seconds"]
    return found


@contextmanager
def _ray(cpus: int) -> Iterator[tuple[str, list[float]]]:
    """Address of a Ray of its own, and MiB in its object store as they are looked up meanwhile."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    import ray
    from ray._private.internal_api import memory_summary
    from ray.cluster_utils import Cluster

    arguments = {"num_cpus": cpus, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    cluster: Any = Cluster(initialize_head=True, head_node_args=arguments)
    ended, watched = threading.Event(), list[float]()

    def watch() -> None:
        while not ended.wait(2):
            said = memory_summary(cluster.address, stats_only=True)
            for line in said.splitlines():
                if line.startswith("Plasma memory usage"):
                    watched.append(float(line.split()[3]))

    ray.init(cluster.address, log_to_driver=False)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield cluster.address, watched
    finally:
        ended.set()
        watcher.join()
        if not watched:
            raise SystemExit("Ray did not say what its object store holds")
        ray.shutdown()
        cluster.shutdown()


def _driver(address: str, cases: int, place: Path) -> tuple[float, float]:
    """Seconds and peak memory in MiB of a driver whose workers do nothing, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scaling", "driver", address, str(cases), place / f"driver{cases}"]
    ran = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True, timeout=_SECONDS)
    seconds, peak = map(float, ran.stdout.split()[-2:])
    return seconds, peak


def drive(address: str, count: int, outputs: Path) -> None:
    """A driver's whole work with workers that answer at once; prints seconds and MiB."""
    from benchmarks.idle_actor import IdleActor
    from flare_infer.cluster import ray_crew
    from flare_infer.cluster.run import predict_with
    from flare_infer.cluster.task import Job, RemoteFile
    from flare_infer.runs.case_result import FolderCallbacks
    from flare_infer.runs.further import LABEL_MAPS
    from flare_infer.runs.ready import ModelChoice

    ray_crew.Actor = IdleActor  # type: ignore[misc,assignment]
    outputs.mkdir()
    cases = {f"case{number}": RemoteFile(f"s3://nowhere/case{number}_0000.nii.gz", number) for number in range(count)}
    job = Job(choice=ModelChoice(device="cpu"), forms=LABEL_MAPS, outputs=str(outputs))
    with ray_crew.RayCrew(address, ray_crew.Share(cpus=1), job, print) as crew:
        crew.setting()
        started = time.perf_counter()
        tally = predict_with(crew, cases, outputs, FolderCallbacks(), forms=LABEL_MAPS)
        seconds = time.perf_counter() - started
    if len(tally.ended) != count or tally.failed:
        raise SystemExit(f"{len(tally.ended)} of {count} cases ended, {len(tally.failed)} failed")
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    if sys.argv[1] == "driver":
        drive(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
