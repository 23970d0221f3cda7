"""Signals that ask a run to stop, as a question that the run asks now and then, or as an exception."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody asked the program to stop.

    Attributes:
        signal: number of the signal.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(f"stopped by {self.signal.name}")

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, the first SIGINT, SIGTERM or SIGHUP raises `Interrupted` in the main thread; a second one ends at once.

    It is raised between two operations of torch, at the latest after one layer of the network. A signal that is ignored
    (SIGHUP under nohup) stays so. As the first process of a container, which the kernel protects from signals that
    no handler takes, the program ends on `docker stop`, too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _STOPPING}
    handled = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def stop(number: int, frame: FrameType | None) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    for number in handled:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number] or signal.SIG_DFL)


@contextmanager
def postponed() -> Iterator[None]:
    """Within, nothing is raised by a signal that has a handler: the handler runs at the end; a second one ends at once.

    For calls of libraries whose compiled code cannot pass on what a handler raises. Such a call must not take long.
    Handlers that a library installs meanwhile are gone at the end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _STOPPING}
    handled = [number for number, handler in before.items() if callable(handler)]

    def note(number: int, frame: FrameType | None) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_DFL)
        came.append(number)

    for number in handled:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if came:
            before[came[0]](came[0], None)


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
