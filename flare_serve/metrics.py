"""What Prometheus is told."""

import time
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """Counts and times of a service; no label holds what a client sent.

    Args:
        waiting: how many jobs wait.
        running: how many run.
        free_bytes: what is left on the disk of the spool.
    """

    def __init__(
        self, waiting: Callable[[], float], running: Callable[[], float], free_bytes: Callable[[], float]
    ) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        for name, what, function in (
            ("flare_jobs_waiting", "Jobs in the queue.", waiting),
            ("flare_jobs_running", "Jobs that are running.", running),
            ("flare_spool_free_bytes", "Bytes left on the disk of the spool.", free_bytes),
        ):
            Gauge(name, what, registry=self._registry).set_function(function)
        began = Gauge("flare_start_time_seconds", "When the service started, since 1970.", registry=self._registry)
        began.set(time.time())
        self._memory = Gauge(
            "flare_peak_memory_bytes", "Most memory ever held, by place.", ["place"], registry=self._registry
        )
        self._stages = Histogram(
            "flare_stage_seconds", "Seconds of a job by stage.", ["stage"], buckets=_SECONDS, registry=self._registry
        )
        self._ended = Counter("flare_jobs", "Runs of jobs by how they ended.", ["kind"], registry=self._registry)
        self._requests = Counter(
            "flare_http_requests", "Requests by method and status.", ["method", "status"], registry=self._registry
        )
        self._further = Counter("flare_events", "Other events by kind.", ["kind"], registry=self._registry)

    def ran(self, kind: str, stages: Mapping[str, float], memory_mib: Mapping[str, float]) -> None:
        """A job was run.

        Args:
            kind: how it ended, in one word.
            stages: seconds by stage.
            memory_mib: the most memory that was ever held, in MiB by place (host, gpu).
        """
        self._ended.labels(kind).inc()
        for stage, seconds in stages.items():
            self._stages.labels(stage).observe(seconds)
        for place, mib in memory_mib.items():
            self._memory.labels(place).set(mib * 2**20)

    def answered(self, method: str, status: int) -> None:
        """A request was answered."""
        self._requests.labels(method, str(status)).inc()

    def count(self, kind: str) -> None:
        """Something else happened, such as a delivery of the DICOM node.

        Args:
            kind: one of a few words that the program itself chooses.
        """
        self._further.labels(kind).inc()

    def watch(self, name: str, what: str, function: Callable[[], float]) -> None:
        """Tell one more number whenever metrics are asked for.

        Args:
            name: of the metric.
            what: it is, in a few words.
            function: callback that returns the number.
        """
        Gauge(name, what, registry=self._registry).set_function(function)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
