"""What commands show while they work: bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich import progress
from rich.console import Console
from rich.markup import escape

from flare_infer.errors import one_line
from flare_infer.shell.interrupt import Interrupted


class Progress:
    """Bars that are drawn on a terminal only; whoever shows progress derives from it and says what it shows.

    Args:
        columns: the parts of a bar's line; none takes the usual ones.
        console: where to write; None is standard error.
        clock: gives the time in seconds; only differences count.
        transient: whether the bars disappear at the end.
    """

    def __init__(
        self,
        *columns: progress.ProgressColumn,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        transient: bool = False,
    ) -> None:
        self._console = Console(stderr=True) if console is None else console
        self._clock = clock
        self._last = clock()
        self.interactive = self._console.is_terminal
        self.bars = progress.Progress(
            *columns, console=self._console, disable=not self.interactive, transient=transient
        )

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()
        if isinstance(error, Interrupted):
            self.interrupted()

    def interrupted(self) -> None:
        """Called at the end if a signal asked to stop, when the bars are gone; does nothing by itself."""

    def due(self, seconds: float) -> bool:
        """Whether so many seconds have passed since this was true last, or since the beginning."""
        if self._clock() - self._last < seconds:
            return False
        self._last = self._clock()
        return True

    def say(self, line: str) -> None:
        """Print one line where the bars are drawn, whatever a library or the name of a file put into it."""
        self._console.print(escape(one_line(line)), soft_wrap=True, highlight=False)
