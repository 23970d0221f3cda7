"""The DICOM node as a whole: it is started, works in threads of its own, and is stopped."""

import threading
from collections.abc import Callable
from typing import Final

from flare_infer.files.write_whole import remove_parts
from flare_serve.errors import SpoolFullError
from flare_serve.jobs.store import JobStore
from flare_serve.logs import log_error
from flare_serve.node.outbox import Outbox
from flare_serve.node.scp import StorageServer
from flare_serve.node.series import Collector
from flare_serve.node.settings import NodeSettings

_STOP_SECONDS: Final = 5.0
_SENDING_SECONDS: Final = 10.0
"""How long a delivery that is under way may still take; one that takes longer is made again at the next start."""


class DicomNode:
    """Takes series by C-STORE, hands them to the store as jobs, and sends their results.

    Args:
        store: the jobs; series are collected in a folder of its spool.
        settings: what the node was told.
        count: callback, called with the kind of an event, in one of a few words.

    Raises:
        UsageError: if it cannot listen.
    """

    def __init__(self, store: JobStore, settings: NodeSettings, count: Callable[[str], None]) -> None:
        folder = store.spool.folder / "dicom"
        arriving = folder / "arriving"
        arriving.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_parts(arriving)
        self._collector = Collector(store, folder / "series", settings, count)
        self._outbox = Outbox(store, settings, count)
        self._server = StorageServer(settings, self._collector, arriving, count)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="dicom-series", daemon=True)
        self._tick_seconds = min(0.2, settings.released_seconds / 4 or 0.05)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    @property
    def is_alive(self) -> bool:
        """Whether every part of it works; after `start`, and before `stop`."""
        return self._server.is_alive and self._thread.is_alive() and self._outbox.is_alive

    def start(self) -> None:
        """Begin to work."""
        self._outbox.start()
        self._thread.start()
        self._server.start()

    def stop(self) -> None:
        """End associations and send no more; what came and what waits is found again at the next start."""
        self._stopped.set()
        self._server.stop()
        self._thread.join(_STOP_SECONDS)
        self._outbox.stop(_SENDING_SECONDS)

    def open_series(self) -> int:
        """How many series are not complete."""
        return self._collector.open_series()

    def waiting(self) -> int:
        """How many deliveries wait."""
        return self._outbox.waiting()

    def _work(self) -> None:
        while not self._stopped.wait(self._tick_seconds):
            try:
                self._collector.work()
                self._outbox.work()
            except SpoolFullError:
                log_error("series wait: the disk of the spool is full")
                self._stopped.wait(_STOP_SECONDS)
