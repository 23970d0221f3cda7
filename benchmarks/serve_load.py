"""Many uploads at once to a service that is killed now and then: whether anything is lost, and whether memory grows.

Usage: python -m benchmarks.serve_load REPORT [UPLOADS]

Eight clients, processes of their own, send UPLOADS (default 200) painted CTs in all and send again what got no answer;
one more is killed in the middle of an upload. A tiny model with random weights segments them, so that the service does
more of its own work than a real one would. The service is killed by SIGKILL three times and started again.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np
import torch

from benchmarks.machine import dated
from benchmarks.serving import Server, lines, server
from flare_infer.formats.volume_io import write_volume
from flare_infer.model.network import UNet
from flare_infer.model.weights import save_model
from tests.tiny import tiny_spec
from train.synth.phantom import paint_phantom

CLIENTS: Final = 8
UPLOADS: Final = 200
KILLS_AT: Final = (0.05, 0.15, 0.25)
"""Of the uploads: when so many have ended, the service is killed."""

PORT: Final = 18765
SHAPE: Final = (40, 96, 96)
OPTIONS: Final = ("--backend", "torch", "--queue", "12", "--free-mib", "64", "--keep-gib", "20")

CLIENT: Final = """
import sys, time, httpx
address, file, count, name = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
content = open(file, "rb").read()
with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
    for number in range(count):
        while True:
            try:
                answer = client.post("jobs", content=content, params={"name": f"{name} {number}"})
            except httpx.HTTPError:
                time.sleep(0.5)
                continue
            if answer.status_code == 201:
                print(answer.json()["id"], flush=True)
                break
            if answer.status_code not in {429, 503}:
                sys.exit(answer.text)
            time.sleep(1)
"""

HALF: Final = """
import socket, sys, time
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as half:
    head = b"POST /jobs HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 9000000\\r\\n\\r\\n"
    half.sendall(head + b"NRRD" + bytes(4000000))
    print("half", flush=True)
    time.sleep(600)
"""


def main(report: Path, uploads: int) -> None:
    """Send, kill, start again, and count."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        scan, weights = _made(folder)
        ids = folder / "ids"
        began = time.monotonic()
        clients = _clients(folder, scan, uploads, ids)
        kills, samples, server_starts = 0, list[tuple[int, float]](), 0
        for share in (*KILLS_AT, 1.0):
            with server(folder / "spool", weights, *OPTIONS, port=PORT) as found:
                server_starts += 1
                if kills == 0:
                    _send_half_and_die()
                wanted = round(uploads * share)
                samples = _follow(found, wanted, clients if share == 1.0 else [])
                if share < 1.0:
                    found.process.send_signal(signal.SIGKILL)
                    kills += 1
                    continue
                facts = _judged(found, ids, folder, uploads)
                found.process.send_signal(signal.SIGTERM)
                found.process.wait(120)
        seconds = time.monotonic() - began
        left = sorted(path.name for path in (folder / "spool").rglob("*") if path.is_file())
        facts["files in the spool after all jobs were deleted"] = ", ".join(left)
        facts["starts of the service"] = str(server_starts)
        facts |= _memory(samples)
    text = [
        "# A service under load, killed now and then",
        "",
        dated("serve_load.py", "fastapi", "uvicorn"),
        "",
        f"{uploads} uploads of {' x '.join(map(str, SHAPE))} voxels from {CLIENTS} clients, {kills} times SIGKILL, one "
        f"client killed in the middle of an upload; {seconds:.0f} s in all. Memory is what the last process of the "
        "service holds (VmRSS) whenever a job has ended.",
        "",
        "| what | found |",
        "|:---|:---|",
        *(f"| {what} | {value} |" for what, value in facts.items()),
    ]
    report.write_text("\n".join(text) + "\n", encoding="utf-8")
    print(report.read_text(encoding="utf-8"))


def _made(folder: Path) -> tuple[Path, Path]:
    torch.manual_seed(0)
    spec = tiny_spec()
    save_model(folder / "tiny", spec, UNet(spec.network, spec.classes))
    scan = folder / "scan.nii.gz"
    write_volume(scan, paint_phantom(np.random.default_rng(0), SHAPE, (5.0, 3.5, 3.5))[0])
    return scan, folder / "tiny"


def _clients(folder: Path, scan: Path, uploads: int, ids: Path) -> list["subprocess.Popen[bytes]"]:
    counts = [uploads // CLIENTS + (number < uploads % CLIENTS) for number in range(CLIENTS)]
    ids.mkdir()
    (folder / "client.py").write_text(CLIENT, encoding="utf-8")
    started = []
    for number, count in enumerate(counts):
        words = [
            sys.executable,
            str(folder / "client.py"),
            f"http://127.0.0.1:{PORT}/",
            str(scan),
            str(count),
            str(number),
        ]
        with (ids / str(number)).open("w") as output:
            started.append(subprocess.Popen(words, stdout=output))
    return started


def _send_half_and_die() -> None:
    with subprocess.Popen([sys.executable, "-c", HALF, str(PORT)], stdout=subprocess.PIPE) as half:
        if half.stdout:
            half.stdout.readline()
        half.kill()


def _follow(found: Server, wanted: int, clients: list["subprocess.Popen[bytes]"]) -> list[tuple[int, float]]:
    """Wait until so many jobs have ended, and all clients, if given; how many jobs have ended, and memory in MiB."""
    samples: list[tuple[int, float]] = []
    while True:
        jobs = found.client.get("jobs", params={"limit": 1000}).json()["jobs"]
        done = sum(job["state"] in {"done", "failed"} for job in jobs)
        if not samples or samples[-1][0] != done:
            samples.append((done, found.memory_mib()))
        if clients:
            if all(client.poll() is not None for client in clients) and done == len(jobs):
                return samples
        elif done >= wanted:
            return samples
        time.sleep(0.2)


def _judged(found: Server, ids: Path, folder: Path, uploads: int) -> dict[str, str]:
    accepted = [line for path in ids.iterdir() for line in path.read_text(encoding="utf-8").split()]
    jobs = {job["id"]: job for job in found.client.get("jobs", params={"limit": 1000}).json()["jobs"]}
    ends = Counter(line["job"] for line in lines(folder, "job ended") if line["kind"] == "done")
    contents = {found.client.get(f"jobs/{job_id}/labels.nii.gz").content for job_id in jobs}
    uploads_left = [path for path in (folder / "spool").rglob("*") if path.name == "upload"]
    incoming = list((folder / "spool" / "incoming").iterdir())
    states = Counter(job["state"] for job in jobs.values())
    facts = {
        "uploads that were answered with 201": f"{len(accepted)} of {uploads}, {len(set(accepted))} different jobs",
        "of these lost": str(sum(job_id not in jobs for job_id in accepted)),
        "jobs at the end": f"{len(jobs)} ({', '.join(f'{count} {state}' for state, count in states.items())}); those "
        "beyond the answers were accepted when the service was killed, and sent again by their client",
        "jobs that ended more than once": str(sum(count > 1 for count in ends.values())),
        "jobs that were started more than once": str(sum(job["starts"] > 1 for job in jobs.values())),
        "different label maps": str(len(contents)),
        "scans and halves of uploads left over": str(len(uploads_left) + len(incoming)),
    }
    for job_id in jobs:
        found.client.delete(f"jobs/{job_id}").raise_for_status()
    return facts


def _memory(samples: list[tuple[int, float]]) -> dict[str, str]:
    held = [mib for _, mib in samples[1:]] or [samples[0][1]]
    tenth = max(1, len(held) // 10)
    first, last = statistics.median(held[:tenth]), statistics.median(held[-tenth:])
    return {
        "memory in the first tenth of its jobs (MiB)": f"{first:.0f}",
        "memory in the last tenth (MiB)": f"{last:.0f} ({(last / first - 1) * 100:+.1f} %)",
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else UPLOADS)
