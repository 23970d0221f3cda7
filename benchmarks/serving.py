"""A service in a process of its own, for benchmarks of it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx


@dataclass(frozen=True, kw_only=True)
class Server:
    """A service that runs.

    Attributes:
        process: its process.
        client: asks it.
        log: file of its lines.
    """

    process: "subprocess.Popen[str]"
    client: httpx.Client
    log: Path

    def memory_mib(self) -> float:
        """The memory that the process holds now (VmRSS)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def ended(self, job_id: str) -> dict[str, Any]:
        """A job when it has ended."""
        while True:
            job: dict[str, Any] = self.client.get(f"jobs/{job_id}").raise_for_status().json()
            if job["state"] in {"done", "failed"}:
                return job
            time.sleep(0.05)


@contextmanager
def server(spool: Path, weights: Path, *options: str, port: int = 0) -> Iterator[Server]:
    """Start the command; what is left of it in the end is killed."""
    log = spool.parent / f"{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "flare_serve", "serve", "--spool", str(spool), "--port", str(port)]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*command, "--weights", str(weights), "--device", "cpu", *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            address = process.stdout.readline().strip() if process.stdout else ""
            if not address:
                raise RuntimeError(log.read_text())
            with httpx.Client(base_url=address, timeout=120, trust_env=False) as client:
                yield Server(process=process, client=client, log=log)
        finally:
            process.kill()


def lines(logs: Path, event: str) -> list[dict[str, Any]]:
    """What all logs of a folder say of an event, the oldest first."""
    found = []
    for path in sorted(logs.glob("*.log")):
        for text in path.read_text(encoding="utf-8").splitlines():
            line = json.loads(text) if text.startswith("{") else {}
            if line.get("event") == event:
                found.append(line)
    return found
