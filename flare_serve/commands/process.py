"""The process of a service: what has to be there before it runs, and what ends it."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from flare_infer.errors import UsageError
from flare_infer.runs.outputs_lock import outputs_locked
from flare_infer.shell.command import say_error
from flare_infer.shell.interrupt import asked_to_stop
from flare_serve.commands.running import Running, ServeOptions, running
from flare_serve.errors import FaultError
from flare_serve.jobs.retention import remove_old_jobs
from flare_serve.jobs.spool import Spool
from flare_serve.jobs.store import JobStore
from flare_serve.logs import log, log_warning, start_logs
from flare_serve.web.access import others_may_read
from flare_serve.worker.model import load_segmenters

_TAKEN: Final = "another service has this spool ({}); stop that one, or name another spool with --spool"
_LOOK_SECONDS: Final = 0.1
_SWEEP_SECONDS: Final = 60.0


def run_service(options: ServeOptions, ready: Callable[[str], None]) -> None:
    """Run a service until a signal asks it to end.

    Args:
        options: how.
        ready: callback, called with the address of its page when it answers.

    Raises:
        UsageError: if it cannot begin: no model, no spool, or the address is taken.
        FaultError: if a worker ended by itself.
    """
    with ExitStack() as stack:
        stop = stack.enter_context(asked_to_stop(says=False))
        spool = Spool(options.spool)
        stack.enter_context(outputs_locked(spool.folder, say_error, taken=_TAKEN))
        listening = stack.enter_context(listening_on(options.address, options.port))
        segmenters = load_segmenters(options.model)
        store = JobStore(spool, options.limits)
        stack.callback(store.close)
        start_logs()
        if options.access.token_file is not None and others_may_read(options.access.token_file):
            log_warning("other accounts of this machine may read the file of the token: chmod o= it")
        found = stack.enter_context(running(options, store, segmenters, listening))
        ready(found.address)
        _watch(found, stop)


def _watch(found: Running, stop: Callable[[], bool]) -> None:
    """Wait for a signal; now and then remove old jobs.

    Raises:
        FaultError: if a part ends by itself.
    """
    next_sweep = 0.0
    while not stop():
        if not found.is_whole:
            raise FaultError("a part of the service ended by itself; the lines above say why")
        if time.monotonic() >= next_sweep:
            next_sweep = time.monotonic() + _SWEEP_SECONDS
            if removed := remove_old_jobs(found.service.store, time.time()):
                found.service.progress.changed()
                log("removed old jobs", count=removed)
        time.sleep(_LOOK_SECONDS)


@contextmanager
def listening_on(address: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens; before the model is loaded, so that a taken port is said at once.

    Raises:
        UsageError: if the address is taken, or none of this machine.
    """
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((address, port), family=family, backlog=128)
    except OSError as error:
        # Of create_server, the text of the error says the address once more; numbers of names are not the system's.
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise UsageError(f"cannot listen on {address}, port {port} ({why}); choose another --port") from error
    with listening:
        yield listening
