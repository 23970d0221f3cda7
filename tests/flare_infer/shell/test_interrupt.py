"""Signals that ask to stop."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from flare_infer.shell.interrupt import Interrupted, interruptible, postponed


@pytest.fixture(autouse=True)
def nothing_ignored() -> Iterator[None]:
    """As on a terminal; what a shell starts in the background ignores SIGINT, and under nohup SIGHUP."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_an_exception_and_an_exit_code(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught, interruptible():
        os.kill(os.getpid(), number)
    assert (caught.value.exit_code, str(caught.value)) == (code, f"stopped by {number.name}")
    assert signal.getsignal(number) is before


def test_the_second_signal_ends_at_once() -> None:
    handlers = []

    def stopped() -> None:
        with interruptible():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                handlers.extend(signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT))

    with pytest.raises(Interrupted):
        stopped()
    assert handlers == [signal.SIG_DFL, signal.SIG_DFL]


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_no_case_s_boundary_holds_it() -> None:
    assert not issubclass(Interrupted, Exception)


def test_in_another_thread_nothing_is_changed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def work() -> None:
        with interruptible():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_postponed_signal_raises_at_the_end_and_the_next_one_ends_at_once(number: signal.Signals, code: int) -> None:
    seen: list[object] = []

    def work() -> None:
        with interruptible(), postponed(), postponed():  # as where one function that postpones calls another
            os.kill(os.getpid(), number)
            seen.extend(signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM))

    with pytest.raises(Interrupted) as caught:
        work()
    assert (caught.value.exit_code, seen) == (code, [signal.SIG_DFL, signal.SIG_DFL])


def test_what_a_library_does_with_signals_meanwhile_is_gone_at_the_end() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with postponed():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
