"""What all commands that show progress share."""

import io
import signal

import pytest
from rich.console import Console

from flare_infer.shell.interrupt import Interrupted
from flare_infer.shell.progress import Progress


class Spoken(Progress):
    def interrupted(self) -> None:
        self.say("stopped in [the] middle\nof it")


def test_a_log_gets_lines_and_no_bar() -> None:
    text = io.StringIO()
    with Spoken(console=Console(file=text)) as progress:
        progress.bars.add_task("working", total=3)
        progress.say("a line with [brackets]")
    assert text.getvalue() == "a line with [brackets]\n"


def test_a_terminal_gets_a_bar() -> None:
    text = io.StringIO()
    with Progress(console=Console(file=text, force_terminal=True)) as progress:
        progress.bars.add_task("working", total=3)
    assert "working" in text.getvalue()


def test_only_a_signal_is_an_interruption() -> None:
    text = io.StringIO()
    with pytest.raises(ValueError, match="no signal"), Spoken(console=Console(file=text)):
        raise ValueError("no signal")
    assert not text.getvalue()
    with pytest.raises(Interrupted), Spoken(console=Console(file=text)):
        raise Interrupted(signal.SIGINT)
    assert text.getvalue() == "stopped in [the] middle of it\n"


def test_something_is_due_again_after_so_many_seconds() -> None:
    passed = [0.0]
    progress = Progress(console=Console(file=io.StringIO()), clock=lambda: passed[-1])
    found = []
    for second in range(1, 8):
        passed.append(float(second))
        found.append(progress.due(3.0))
    assert found == [False, False, True, False, False, True, False]
