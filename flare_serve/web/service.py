"""All that a request is answered with."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from flare_serve.jobs.progress import Progress
from flare_serve.jobs.store import JobStore
from flare_serve.metrics import Metrics
from flare_serve.web.access import Access
from flare_serve.web.refusal import RefusedError


class Places:
    """A number of places for requests that take long, so that they cannot take all there is.

    Args:
        most: how many.
        what: what the requests are, for the one who finds none.
    """

    def __init__(self, most: int, what: str) -> None:
        self._free, self._what, self._guard = most, what, threading.Lock()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Inside, one place is taken.

        Raises:
            RefusedError: if none is free.
        """
        with self._guard:
            if self._free == 0:
                raise RefusedError(503, f"too many {self._what} at once; come again later", {"Retry-After": "5"})
            self._free -= 1
        try:
            yield
        finally:
            with self._guard:
                self._free += 1


@dataclass(frozen=True, kw_only=True)
class UploadTimes:
    """How long an upload may last.

    Attributes:
        idle_seconds: without a byte.
        seconds: in all.
    """

    idle_seconds: float = 30.0
    seconds: float = 1800.0


@dataclass(frozen=True, kw_only=True)
class Service:
    """All that a request is answered with.

    Attributes:
        store: the jobs.
        progress: how far running ones are.
        metrics: what Prometheus is told.
        access: who may use it.
        problems: one line for each reason why it is not ready.
        stopping: whether it is about to end.
        model: facts about the model, by name.
        upload_times: how long an upload may last.
        uploads: places for uploads.
        streams: places for clients that follow events.
    """

    store: JobStore
    progress: Progress
    metrics: Metrics
    access: Access
    problems: Callable[[], Sequence[str]] = tuple
    stopping: Callable[[], bool] = lambda: False
    model: dict[str, str] = field(default_factory=dict)
    upload_times: UploadTimes = UploadTimes()
    uploads: Places = field(default_factory=lambda: Places(16, "uploads"))
    streams: Places = field(default_factory=lambda: Places(64, "streams"))
