"""Signals that ask a run to stop, as a question that the run asks now and then."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from flare_infer.interrupt import Interrupted

_STANDARD_ERROR: Final = 2
WORD: Final = "stopping: this step ends, then the state is saved and the same command goes on from there"


@contextmanager
def asked_to_stop(*, alone: bool = True, says: bool = True) -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C and SIGTERM do not end the process; they make the function true, and a word says so at once.

    Before the function was asked for the first time there is no state to be saved: the signal ends the process then. A
    second Ctrl-C ends it, too, at any time.

    Args:
        alone: False for one of several processes, which must end together: all that a signal does is make it true.
        says: whether this process says the word.

    Raises:
        Interrupted: where a signal is to end the process.
    """
    signals: list[int] = []
    asked = False
    numbers = (signal.SIGINT, signal.SIGTERM)

    def received(number: int, frame: FrameType | None) -> None:
        if alone and (not asked or (signals and number == signal.SIGINT)):
            raise Interrupted(number)
        if not signals and says:
            again = "; Ctrl-C again ends at once, without" if alone else ""
            with suppress(OSError):  # not print: it may be what was interrupted
                os.write(_STANDARD_ERROR, f"\n{WORD}{again}\n".encode())
        signals.append(number)

    def stop() -> bool:
        nonlocal asked
        asked = True
        return bool(signals)

    before = [signal.signal(number, received) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
