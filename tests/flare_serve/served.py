"""A service in this process or in one of its own, with a tiny model, and clients of it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from flare_infer.segment.segmenter import Segmenter
from flare_serve.commands.process import listening_on
from flare_serve.commands.running import Running, ServeOptions, running
from flare_serve.jobs.settings import MIB, Limits
from flare_serve.jobs.spool import Spool
from flare_serve.jobs.store import JobStore
from flare_serve.web.access import Access
from flare_serve.web.service import UploadTimes

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 90.0
LIMITS = Limits(free_bytes=MIB, most_waiting=1000)


@dataclass(frozen=True, kw_only=True)
class Served:
    """A service in this process.

    Attributes:
        client: asks it.
        running: the service.
        spool: its folder.
    """

    client: httpx.Client
    running: Running
    spool: Path

    @property
    def store(self) -> JobStore:
        return self.running.service.store

    def submit(self, content: bytes, **query: str) -> dict[str, Any]:
        answer = self.client.post("jobs", content=content, params=query)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def ended(self, job_id: str) -> dict[str, Any]:
        return ended(self.client, job_id)


@contextmanager
def served(
    spool: Path,
    segmenter: Segmenter,
    *,
    limits: Limits = LIMITS,
    access: Access | None = None,
    upload_times: UploadTimes | None = None,
) -> Iterator[Served]:
    """Run a service in threads of this process, until the end of the block."""
    options = ServeOptions(
        address="127.0.0.1",
        port=0,
        spool=spool,
        limits=limits,
        access=access or Access(),
        upload_times=upload_times or UploadTimes(),
        grace_seconds=PATIENCE_S,
    )
    store = JobStore(Spool(spool), limits)
    with (
        listening_on("127.0.0.1", 0) as listening,
        running(options, store, [segmenter], listening) as found,
        client_of(found.address) as client,
    ):
        yield Served(client=client, running=found, spool=spool)
    store.close()


def client_of(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, timeout=PATIENCE_S, trust_env=False)


def until(true: Callable[[], Any]) -> Any:
    """What a function gives as soon as it is anything."""
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        if found := true():
            return found
        time.sleep(0.02)
    raise TimeoutError("it did not get so far")


def ended(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """A job when it has ended."""

    def look() -> dict[str, Any] | None:
        job = client.get(f"jobs/{job_id}").raise_for_status().json()
        return job if job["state"] in {"done", "failed"} else None

    return dict(until(look))


@dataclass(frozen=True, kw_only=True)
class Process:
    """A service in a process of its own.

    Attributes:
        popen: the process.
        address: of its page.
        log: file of its standard error.
    """

    popen: "subprocess.Popen[str]"
    address: str
    log: Path


@contextmanager
def started(spool: Path, weights: Path, *options: str) -> Iterator[Process]:
    """Start the command, and kill what is left of it in the end."""
    log = spool.parent / f"{spool.name}-{time.monotonic_ns()}.log"
    words = [sys.executable, "-m", "flare_serve", "serve", "--port", "0", "--spool", str(spool), "--free-mib", "1"]
    words += ["--weights", str(weights), "--device", "cpu", "--backend", "torch", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (
        log.open("w") as errors,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as popen,
    ):
        try:
            assert popen.stdout is not None
            address = popen.stdout.readline().strip()
            assert address.startswith("http://"), log.read_text()
            yield Process(popen=popen, address=address, log=log)
        finally:
            popen.kill()


def files_of(spool: Path) -> set[str]:
    """Files of a spool other than the database."""
    paths = (path.relative_to(spool) for path in spool.rglob("*") if not path.is_dir())
    return {path.as_posix() for path in paths if not path.name.startswith("jobs.sqlite")}
