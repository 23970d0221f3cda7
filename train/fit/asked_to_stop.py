"""Signals that ask a run to stop, as a question that the run asks now and then."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C and SIGTERM do not end the process; they make the function true."""
    signals = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda received, frame: signals.append(received)) for number in numbers]
    try:
        yield lambda: bool(signals)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
