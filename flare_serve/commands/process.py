"""The process of a service: spool, workers, HTTP, and its end."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvicorn

from flare_infer.errors import UsageError
from flare_infer.runs.identity import peak_gpu_memory_mib, peak_memory_mib
from flare_infer.runs.outputs_lock import outputs_locked
from flare_infer.segment.segmenter import Segmenter
from flare_infer.shell.command import say_error
from flare_infer.shell.interrupt import asked_to_stop
from flare_infer.version import __version__
from flare_serve.errors import FaultError
from flare_serve.jobs.job import Job, State
from flare_serve.jobs.progress import Progress
from flare_serve.jobs.retention import remove_old_jobs
from flare_serve.jobs.settings import Limits
from flare_serve.jobs.spool import Spool
from flare_serve.jobs.store import JobStore
from flare_serve.logs import log, log_error, start_logs
from flare_serve.metrics import Metrics
from flare_serve.web.access import Access, is_loopback
from flare_serve.web.app import new_app
from flare_serve.web.service import Service, UploadTimes
from flare_serve.worker.model import ModelOptions, load_segmenters
from flare_serve.worker.run import Ran
from flare_serve.worker.worker import Worker

_LOOK_SECONDS: Final = 0.1
_SWEEP_SECONDS: Final = 60.0
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
    debug: bool = False


def run_service(options: ServeOptions, ready: Callable[[str], None]) -> None:
    """Run a service until a signal asks it to end.

    Args:
        options: how.
        ready: callback, called with the address of its page when it answers.

    Raises:
        UsageError: if it cannot begin: no model, no spool, the address is taken, or anybody could use it.
        FaultError: if a worker ended by itself.
    """
    if options.access.token is None and not is_loopback(options.address):
        raise UsageError(
            f"--address {options.address}: others than this machine could use the service; name a file with a token "
            "(--token-file), or have one made (--new-token)"
        )
    start_logs()
    with ExitStack() as stack:
        stop = stack.enter_context(asked_to_stop(says=False))
        spool = Spool(options.spool)
        stack.enter_context(outputs_locked(spool.folder, say_error))
        listening = stack.enter_context(_listening(options.address, options.port))
        segmenters = load_segmenters(options.model)
        store = JobStore(spool, options.limits)
        stack.callback(store.close)
        _run(options, store, segmenters, listening, stop, ready)


def _run(
    options: ServeOptions,
    store: JobStore,
    segmenters: Sequence[Segmenter],
    listening: socket.socket,
    stop: Callable[[], bool],
    ready: Callable[[str], None],
) -> None:
    progress = Progress()
    store.subscribe(lambda job: progress.changed())
    metrics = Metrics(_count(store, State.QUEUED), _count(store, State.RUNNING), store.spool.free)
    ended = _Ended(metrics, segmenters, options.debug)
    workers = [Worker(store, segmenter, progress, ended) for segmenter in segmenters]
    server = uvicorn.Server(_configuration(_DRAIN_SECONDS))
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
    for worker in workers:
        worker.start()
    thread = threading.Thread(target=_answer, args=(server, listening), name="http", daemon=True)
    thread.start()
    host, port = listening.getsockname()[:2]
    ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
    log("started", version=__version__, devices=len(workers), process=os.getpid())
    try:
        _watch(store, progress, [thread, *workers], stop)
    finally:
        server.should_exit = True
        began = time.monotonic()
        thread.join(_DRAIN_SECONDS + 1)
        for worker in workers:
            worker.stop(max(0.0, options.grace_seconds - (time.monotonic() - began)))
        log("ended", seconds=round(time.monotonic() - began, 2))


def _watch(
    store: JobStore, progress: Progress, parts: Sequence[threading.Thread | Worker], stop: Callable[[], bool]
) -> None:
    """Wait for a signal; now and then remove old jobs.

    Raises:
        FaultError: if a part ends by itself.
    """
    next_sweep = 0.0
    while not stop():
        if any(not (part.is_alive if isinstance(part, Worker) else part.is_alive()) for part in parts):
            raise FaultError("a part of the service ended by itself; the lines above say why")
        if time.monotonic() >= next_sweep:
            next_sweep = time.monotonic() + _SWEEP_SECONDS
            if removed := remove_old_jobs(store, time.time()):
                progress.changed()
                log("removed old jobs", count=removed)
        time.sleep(_LOOK_SECONDS)


def _answer(server: uvicorn.Server, listening: socket.socket) -> None:
    # In a thread of its own uvicorn leaves the signals alone.
    asyncio.run(server.serve([listening]))


def _configuration(drain_seconds: int) -> uvicorn.Config:
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
        timeout_graceful_shutdown=drain_seconds,
        h11_max_incomplete_event_size=32 * 1024,
    )


@contextmanager
def _listening(address: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens; before the model is loaded, so that a taken port is said at once.

    Raises:
        UsageError: if the address is taken, or none of this machine.
    """
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((address, port), family=family, backlog=128)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {address}, port {port} ({error.strerror}); choose another --port"
        ) from error
    with listening:
        yield listening


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
