"""What a Ray cluster that loses processes and machines leaves: every label map once, as one machine writes it.

Usage: python -m benchmarks.ray_losses CASES REPORT

A head and three nodes on this machine (Ray's `cluster_utils`), tiny invented scans, a tiny model. While they run, one
worker and then one node with all its processes get SIGKILL; one case ends every process that opens it, and one cannot
be read. The label maps are compared with those of one process, and the same run is started once more.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import dated
from benchmarks.tiny_cases import UNREADABLE, tiny_cases

DEADLY = "deadly"
NODES = 3
_SECONDS = 900

_DIES = f"""
import os, signal, sys

def die(event, arguments):
    if event == "open" and str(arguments[0]).endswith("/{DEADLY}_0000.nii.gz"):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
"""
"""What every Python process of the nodes runs first."""


@dataclass
class Outcome:
    """What the runs left.

    Attributes:
        said: all lines of the first run.
        code: its exit code.
        seconds: how long it took.
        alone: label maps of one process, by name.
        shared: those of the cluster.
        statuses: by case of the report.
        cases: number of entries of the report by case.
        killed: what was killed.
        written_again: label maps that the second run wrote, which should be none.
        left: names in the folder that are none of label maps and reports.
    """

    said: list[str] = field(default_factory=list)
    code: int = -1
    seconds: float = 0.0
    alone: dict[str, bytes] = field(default_factory=dict)
    shared: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    cases: Counter[str] = field(default_factory=Counter)
    killed: list[str] = field(default_factory=list)
    written_again: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def wrong(self) -> list[str]:
        """What is not as it should be, a line each."""
        bad = {name for name, status in self.statuses.items() if status == "failed"}
        named = Counter(name for line in self.said if "error:" in line for name in bad if f"/{name}_0000" in line)
        checks = {
            "every label map is there, byte for byte": self.alone == self.shared and bool(self.alone),
            "the two bad cases failed, and no other": bad == {DEADLY, UNREADABLE},
            "each of them is named once": named == Counter(bad),
            "every case is in the report once": set(self.cases.values()) == {1},
            "the exit code is 1": self.code == 1,
            "something was killed": len(self.killed) == 2,
            "the same run again writes nothing": not self.written_again,
            "nothing else lies in the folder": not self.left,
        }
        return [check for check, holds in checks.items() if not holds]


def outcome(place: Path, count: int) -> Outcome:
    """Run everything.

    Args:
        place: an empty folder.
        count: number of cases that are well.
    """
    found = Outcome()
    inputs, weights = tiny_cases(place, count, unreadable=True)
    _predict(inputs, place / "alone", weights)
    found.alone = _label_maps(place / "alone")
    good = next(inputs.glob("case*_0000.nii.gz"))
    (inputs / f"{DEADLY}_0000.nii.gz").write_bytes(good.read_bytes())
    shared = place / "shared"
    with _cluster(place) as cluster:
        started = time.monotonic()
        _until_done(found, inputs, shared, weights, cluster)
        found.seconds = time.monotonic() - started
        found.shared = _label_maps(shared)
        cases = json.loads((shared / "report.json").read_text())["cases"]
        found.statuses = {case["name"]: case["status"] for case in cases}
        found.cases = Counter(case["name"] for case in cases)
        found.left = [
            path.name
            for path in shared.iterdir()
            if not path.name.endswith(".nii.gz") and path.name not in {"report.json", "report.csv"}
        ]
        (inputs / f"{DEADLY}_0000.nii.gz").unlink()
        before = {path.name: path.stat().st_mtime_ns for path in shared.glob("*.nii.gz")}
        _predict(inputs, shared, weights, "--ray", cluster.address, "--worker-cpus", 1)
        found.written_again = [
            path.name for path in shared.glob("*.nii.gz") if before.get(path.name) != path.stat().st_mtime_ns
        ]
    return found


@contextmanager
def _cluster(place: Path) -> Iterator[Any]:
    """A head without CPUs, and nodes with one each."""
    from ray.cluster_utils import Cluster

    hook = place / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(_DIES)
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(hook), str(Path.cwd()), before.get("PYTHONPATH", "")])
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False},
    )
    try:
        for _ in range(NODES):
            cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        os.environ.clear()
        os.environ |= before
        yield cluster
    finally:
        os.environ.clear()
        os.environ |= before
        cluster.shutdown()


def _until_done(found: Outcome, inputs: Path, outputs: Path, weights: Path, cluster: Any) -> None:
    """The run with its losses."""
    count = len(found.alone)
    options = ["--ray", cluster.address, "--worker-cpus", 1]
    with _started(inputs, outputs, weights, *options) as process:
        if _wait(process, outputs, count // 5) and (workers := _workers(cluster)):
            pid, _ = workers[0]
            os.kill(pid, signal.SIGKILL)
            found.killed.append("a worker")
        if _wait(process, outputs, count // 2) and (workers := _workers(cluster)):
            _, node = workers[-1]
            raylet = node.all_processes["raylet"][0].process.pid
            for child in [raylet, *_children(raylet)]:
                os.kill(child, signal.SIGKILL)
            found.killed.append("a node")
        text, _ = process.communicate(timeout=_SECONDS)
    found.said, found.code = text.splitlines(), process.returncode


def _workers(cluster: Any) -> list[tuple[int, Any]]:
    """Process id and node of each worker of the run that is alive."""
    return [
        (pid, node)
        for node in cluster.worker_nodes
        for pid in _children(node.all_processes["raylet"][0].process.pid)
        if b"ray::Actor" in _read(Path(f"/proc/{pid}/cmdline"))
    ]


def _children(parent: int) -> list[int]:
    tasks = Path(f"/proc/{parent}/task")
    return [int(pid) for task in tasks.glob("*") for pid in _read(task / "children").split()]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _wait(process: "subprocess.Popen[str]", outputs: Path, count: int) -> bool:
    """Wait for so many label maps; whether the run still goes on."""
    end = time.monotonic() + _SECONDS
    while len(list(outputs.glob("*.nii.gz"))) < count and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    return process.poll() is None


@contextmanager
def _started(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    inputs, outputs, weights, *options = map(str, arguments)
    command = [sys.executable, "-m", "flare_infer", "predict", inputs, outputs, "--weights", weights, "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _predict(*arguments: object) -> None:
    with _started(*arguments) as process:
        process.communicate(timeout=_SECONDS)


def _label_maps(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}


def main(count: int, report: Path) -> None:
    """Run it and write the report; exit code 1 if something is wrong."""
    with tempfile.TemporaryDirectory() as place:
        found = outcome(Path(place), count)
    wrong = found.wrong()
    lines = [
        "# A Ray cluster that loses processes and machines",
        "",
        dated("ray_losses.py", "ray"),
        "",
        f"A head and {NODES} nodes on this machine, {count} tiny invented scans, a tiny model with random weights. "
        f"Killed while it ran: {' and '.join(found.killed)}. One case ends every process that opens it, one file is no "
        "image.",
        "",
        "| | |",
        "|:---|:---|",
        f"| seconds | {found.seconds:.0f} |",
        f"| label maps | {len(found.shared)} of {count}, "
        f"{sum(found.shared.get(name) == content for name, content in found.alone.items())} byte for byte those of one "
        "process |",
        f"| failed | {', '.join(sorted(name for name, status in found.statuses.items() if status == 'failed'))} |",
        f"| tried again after a loss | {sum('its worker was lost' in line for line in found.said)} times |",
        f"| written by the same run again | {len(found.written_again)} |",
        *([f"| left in the folder | {', '.join(found.left)} |"] if found.left else []),
        f"| not as it should be | {'; '.join(wrong) or 'nothing'} |",
    ]
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(*lines, sep="\n")
    if wrong:
        print(*found.said, sep="\n", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
