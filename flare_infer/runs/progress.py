"""What `flare-infer predict` shows: a bar while it works, a line for every case."""

from collections.abc import Iterable
from typing import Final

import typer
from rich.markup import escape
from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeElapsedColumn

from flare_infer.errors import one_line
from flare_infer.runs.case_result import CaseResult, FolderCallbacks
from flare_infer.shell.command import say_error
from flare_infer.shell.progress import Progress

_NAMES_SHOWN: Final = 5


class SegmentationProgress(Progress):
    """Follows the cases of a folder; the bar is drawn on a terminal only.

    Args:
        names: the cases, in order.
        columns: the parts of the bar's line; none takes those of one case after the other.
        verbose: also print the plan of memory of each case; that memory ran out is always printed.
        debug: print the traceback of an unexpected error.
    """

    def __init__(self, names: Iterable[str], *columns: ProgressColumn, verbose: bool, debug: bool) -> None:
        self._left = list(names)
        self._total = len(self._left)
        self._begun: set[str] = set()
        self._verbose = verbose
        self._debug = debug
        counts = TextColumn("{task.completed:g}/{task.total:g} cases")
        usual = (TextColumn("{task.description}"), BarColumn(), counts, TimeElapsedColumn())
        super().__init__(*(columns or usual))
        self._task = self.bars.add_task("segmenting", total=self._total)
        self.callbacks = FolderCallbacks(
            windows=self._windows, notice=self._notice, finished=self._finished, trouble=say_error
        )

    def interrupted(self) -> None:
        """Say which cases are done and which are missing."""
        missing = ", ".join(self._left[:_NAMES_SHOWN]) + (", ..." if len(self._left) > _NAMES_SHOWN else "")
        done = f"{self._total - len(self._left)} of {self._total} cases are done"
        line = f"{done}, missing: {missing or 'none'}; the same command again does the rest"
        typer.echo(one_line(line), err=True)

    def _windows(self, name: str, done: int, total: int) -> None:
        self._begun.add(name)
        completed = round(len(self._begun) - 1 + done / total, 2)
        self.bars.update(self._task, description=escape(one_line(name)), completed=completed)

    def _notice(self, name: str, line: str, routine: bool) -> None:
        if self._verbose or not routine:
            typer.echo(one_line(f"{name}: {line}"), err=True)

    def _finished(self, result: CaseResult) -> None:
        self._begun.add(result.name)
        self.bars.update(self._task, completed=len(self._begun))
        if result.output is None:
            say_error(result.reason)
            if self._debug and result.details:
                typer.echo(result.details, err=True)
            return
        self._left.remove(result.name)
        if result.done_before:
            typer.echo(one_line(f"{result.output}: done before"))
        else:
            windows = f"{result.windows_ran} of {result.windows} windows"
            typer.echo(one_line(f"{result.output}: written in {result.seconds:.1f} s, {windows}"))
        for line in result.lacking:
            say_error(line)
        if self._debug and result.details:
            typer.echo(result.details, err=True)
