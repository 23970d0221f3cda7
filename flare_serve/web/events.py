"""Server-sent events: a job is told whenever it changes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.concurrency import run_in_threadpool

from flare_serve.errors import UnknownJobError
from flare_serve.jobs.job import ENDED
from flare_serve.web.service import Service
from flare_serve.web.views import view_of

_LOOK_SECONDS: Final = 0.2
_SILENT_SECONDS: Final = 15.0
"""A proxy ends a connection on which nothing is said for long."""

MOST_SHOWN: Final = 100

_Snapshot = dict[str, str]
"""Jobs as JSON by id."""


async def events_of_job(service: Service, job_id: str) -> AsyncIterator[str]:
    """The job whenever it changes (event `job`), until it has ended or was removed (event `removed`)."""

    def snapshot() -> tuple[_Snapshot, bool]:
        try:
            job = service.store.job(job_id)
        except UnknownJobError:
            return {}, True
        return {job_id: view_of(service, job).model_dump_json()}, job.state in ENDED

    async for event in _events(service, snapshot):
        yield event


async def events_of_all(service: Service) -> AsyncIterator[str]:
    """Each of the newest jobs whenever it changes (event `job`) or is removed (event `removed`), without end."""

    def snapshot() -> tuple[_Snapshot, bool]:
        jobs = service.store.jobs(most=MOST_SHOWN)
        return {job.id: view_of(service, job).model_dump_json() for job in reversed(jobs)}, False

    async for event in _events(service, snapshot):
        yield event


async def _events(service: Service, snapshot: Callable[[], tuple[_Snapshot, bool]]) -> AsyncIterator[str]:
    with service.streams.one():
        told: _Snapshot = {}
        version, silent, is_last = -1, 0.0, False
        while not (is_last or service.stopping()):
            if (now := service.progress.version) != version:
                version, silent = now, 0.0
                found, is_last = await run_in_threadpool(snapshot)
                for event in _changes(told, found):
                    yield event
                told = found
            else:
                await asyncio.sleep(_LOOK_SECONDS)
                silent += _LOOK_SECONDS
                if silent >= _SILENT_SECONDS:
                    silent = 0.0
                    yield ": still here\n\n"


def _changes(told: _Snapshot, found: _Snapshot) -> list[str]:
    gone = [f'event: removed\ndata: {{"id":"{job_id}"}}\n\n' for job_id in told if job_id not in found]
    changed = [f"event: job\ndata: {text}\n\n" for job_id, text in found.items() if told.get(job_id) != text]
    return gone + changed
