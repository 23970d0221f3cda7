"""A service that runs: workers and HTTP, from their start to their end."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from flare_infer.runs.identity import peak_gpu_memory_mib, peak_memory_mib
from flare_infer.segment.segmenter import Segmenter
from flare_infer.version import __version__
from flare_serve.jobs.job import Job, State
from flare_serve.jobs.progress import Progress
from flare_serve.jobs.settings import Limits
from flare_serve.jobs.store import JobStore
from flare_serve.logs import log, log_error
from flare_serve.metrics import Metrics
from flare_serve.node.settings import NodeSettings
from flare_serve.web.access import Access
from flare_serve.web.app import new_app
from flare_serve.web.service import Service, UploadTimes
from flare_serve.worker.model import ModelOptions
from flare_serve.worker.run import Ran
from flare_serve.worker.worker import Worker

if TYPE_CHECKING:
    from flare_serve.node.node import DicomNode

_DRAIN_SECONDS: Final = 5
"""How long requests that are under way may still take when the service ends."""

_KEEP_ALIVE_SECONDS: Final = 20
_MOST_CONNECTIONS: Final = 256


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How a service is run.

    Attributes:
        address: which address it listens on.
        port: on which port; 0 for any that is free.
        spool: folder of uploads and results.
        limits: how much is taken and kept.
        access: who may use it.
        model: which model, and how it runs.
        upload_times: how long an upload may last.
        grace_seconds: how long running jobs may still take when the service is asked to end.
        node: what a DICOM node is told; None for no node.
        debug: whether tracebacks of unexpected errors are logged; they may hold words of a scan's header.
    """

    address: str
    port: int
    spool: Path
    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)
    model: ModelOptions = field(default_factory=ModelOptions)
    upload_times: UploadTimes = field(default_factory=UploadTimes)
    grace_seconds: float = 20.0
    node: NodeSettings | None = None
    debug: bool = False


@dataclass(frozen=True, kw_only=True)
class Running:
    """A service that runs.

    Attributes:
        service: what requests are answered with.
        address: of its page.
        workers: what runs jobs.
        http: the thread that answers.
        node: the DICOM node; None if there is none.
    """

    service: Service
    address: str
    workers: Sequence[Worker]
    http: threading.Thread
    node: "DicomNode | None" = None

    @property
    def is_whole(self) -> bool:
        """Whether no part has ended by itself."""
        node_is_well = self.node is None or self.node.is_alive
        return node_is_well and self.http.is_alive() and all(worker.is_alive for worker in self.workers)


@contextmanager
def running(
    options: ServeOptions, store: JobStore, segmenters: Sequence[Segmenter], listening: socket.socket
) -> Iterator[Running]:
    """Inside, the service runs; on leaving, requests and jobs have some time to end.

    Args:
        options: how it is run; address, port, spool and model are those of the other arguments already.
        store: the jobs.
        segmenters: the model on each device.
        listening: a socket that listens.
    """
    progress = Progress()
    store.subscribe(lambda job: progress.changed())
    metrics = Metrics(_count(store, State.QUEUED), _count(store, State.RUNNING), store.spool.free)
    ended = _Ended(metrics, segmenters, options.debug)
    workers = [Worker(store, segmenter, progress, ended) for segmenter in segmenters]
    server = uvicorn.Server(_configuration())
    service = Service(
        store=store,
        progress=progress,
        metrics=metrics,
        access=options.access,
        problems=lambda: _problems(store, workers, server.should_exit),
        stopping=lambda: server.should_exit,
        model=_facts(segmenters),
        upload_times=options.upload_times,
    )
    server.config.app = new_app(service)
    # In a thread of its own uvicorn leaves the signals alone.
    http = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), name="http", daemon=True)
    node = _node(options.node, store, metrics)
    for worker in workers:
        worker.start()
    http.start()
    if node is not None:
        node.start()
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # whoever listens everywhere can be asked here
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    log("started", version=__version__, devices=len(workers), process=os.getpid())
    try:
        yield Running(service=service, address=address, workers=workers, http=http, node=node)
    finally:
        began = time.monotonic()
        server.should_exit = True
        if node is not None:
            node.stop()
        for worker in workers:
            worker.ask_to_stop()
        http.join(_DRAIN_SECONDS + 1)
        for worker in workers:
            worker.stop(max(0.0, options.grace_seconds - (time.monotonic() - began)))
        log("ended", seconds=round(time.monotonic() - began, 2))


def _node(settings: NodeSettings | None, store: JobStore, metrics: Metrics) -> "DicomNode | None":
    """The DICOM node, if one is wanted; its libraries are loaded then only.

    Raises:
        UsageError: if it cannot listen.
    """
    if settings is None:
        return None
    from flare_serve.node.node import DicomNode

    node = DicomNode(store, settings, metrics.count)
    metrics.watch("flare_dicom_open_series", "Series that are not complete.", node.open_series)
    metrics.watch("flare_dicom_deliveries_waiting", "Results that wait to be sent.", node.waiting)
    log("DICOM node", title=settings.title, address=settings.host, port=node.port, targets=len(settings.targets))
    return node


def _configuration() -> uvicorn.Config:
    return uvicorn.Config(
        app="",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        ws="none",
        lifespan="off",
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        h11_max_incomplete_event_size=32 * 1024,
    )


class _Ended:
    """Tells of each run of a job: a line, and numbers for Prometheus."""

    def __init__(self, metrics: Metrics, segmenters: Sequence[Segmenter], debug: bool) -> None:
        self._metrics, self._debug = metrics, debug
        self._device = segmenters[0].compute.device

    def __call__(self, job: Job, ran: Ran) -> None:
        memory = {"host": peak_memory_mib(), "gpu": peak_gpu_memory_mib(self._device)}
        self._metrics.ran(ran.kind, {"wait": job.began - job.created, **ran.stages}, memory)
        fields: dict[str, Any] = {f"{stage}_seconds": round(value, 3) for stage, value in ran.stages.items()}
        if ran.first_window:
            fields["to_first_window_seconds"] = round(ran.first_window - job.created, 3)
        log("job ended", job=job.id, kind=ran.kind, windows=ran.outcome.windows_ran, **fields)
        if ran.details and self._debug:
            log_error("unexpected", job=job.id, details=ran.details)


def _count(store: JobStore, state: State) -> Callable[[], float]:
    return lambda: len(store.jobs(states=(state,)))


def _problems(store: JobStore, workers: Sequence[Worker], stopping: bool) -> list[str]:
    problems = ["the service is about to end"] if stopping else []
    if any(not worker.is_alive for worker in workers):
        problems.append("a worker has ended")
    if store.spool.free() < store.limits.free_bytes:
        problems.append("the disk is full")
    return problems


def _facts(segmenters: Sequence[Segmenter]) -> dict[str, str]:
    first = segmenters[0]
    return {
        "model": first.spec.name,
        "weights_sha256": first.weights_sha256,
        "devices": ", ".join(str(one.compute.device) for one in segmenters),
        "precision": first.compute.precision,
        "backend": first.compute.backend,
        "version": __version__,
    }
