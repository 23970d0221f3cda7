"""What `flare-infer predict` shows: a bar while it works, a line for every case."""

from collections.abc import Iterable
from types import TracebackType
from typing import Self

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from flare_infer.command_line import say_error
from flare_infer.errors import one_line
from flare_infer.folder import CaseResult, FolderWatch


class Terminal:
    """Follows the cases of a folder; the bar is drawn on a terminal only.

    Args:
        names: the cases, in order.
        verbose: also print the plan of memory of each case; that memory ran out is always printed.
        debug: print the traceback of an unexpected error.
    """

    def __init__(self, names: Iterable[str], *, verbose: bool, debug: bool) -> None:
        self._place = {name: index for index, name in enumerate(names)}
        self._verbose = verbose
        self._debug = debug
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:g}/{task.total:g} cases"))
        self._bar = Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("segmenting", total=len(self._place))
        self.watch = FolderWatch(windows=self._windows, notice=self._notice, finished=self._finished)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def _windows(self, name: str, done: int, total: int) -> None:
        self._bar.update(
            self._task, description=escape(one_line(name)), completed=round(self._place[name] + done / total, 2)
        )

    def _notice(self, name: str, line: str, routine: bool) -> None:
        if self._verbose or not routine:
            typer.echo(one_line(f"{name}: {line}"), err=True)

    def _finished(self, result: CaseResult) -> None:
        self._bar.update(self._task, completed=self._place[result.name] + 1)
        if result.output is not None:
            windows = f"{result.windows_ran} of {result.windows} windows"
            typer.echo(one_line(f"{result.output}: written in {result.seconds:.1f} s, {windows}"))
            return
        say_error(result.reason)
        if self._debug and result.details:
            typer.echo(result.details, err=True)
