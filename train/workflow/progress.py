"""What `flare-train pipeline` shows: a line for every stage, and on a terminal how far it is."""

import csv
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from train.record.journal import JOURNAL_FILE
from train.workflow.engine import PipelineCallbacks
from train.workflow.plan import Step
from train.workflow.stage import Stage

_LOOK_SECONDS: Final = 2.0
_TAIL_BYTES: Final = 4096


class PipelineProgress:
    """Follows a pipeline; bars are drawn on a terminal only.

    Args:
        total: number of stages.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:g} of {task.total:g}"))
        self._bar = Progress(
            *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal
        )
        self._stages = self._bar.add_task("stages", total=total)
        self._inside: TaskID | None = None
        self._next_look = 0.0
        self.callbacks = PipelineCallbacks(
            begins=self._begins, goes_on=self._goes_on, ends=self._ends, notice=typer.echo
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def _begins(self, number: int, step: Step) -> None:
        typer.echo(f"[{number}/{self._total}] {step.stage.name}: {step.reason}")
        typer.echo(f"  {step.stage.line}")
        if step.stage.counted is not None:
            self._inside = self._bar.add_task(step.stage.name, total=step.stage.counted[1])
        self._next_look = 0.0

    def _goes_on(self, stage: Stage) -> None:
        # Looking costs a listing of thousands of names: not at every call, and not where nobody looks.
        if self._inside is not None and not self._bar.disable and time.monotonic() >= self._next_look:
            self._bar.update(self._inside, completed=count_done(stage))
            self._next_look = time.monotonic() + _LOOK_SECONDS

    def _ends(self, number: int, step: Step, seconds: float | None) -> None:
        if self._inside is not None:
            self._bar.remove_task(self._inside)
            self._inside = None
        self._bar.update(self._stages, completed=number)
        if seconds is None:
            typer.echo(f"[{number}/{self._total}] {step.stage.name}: {step.reason}")
        else:
            typer.echo(f"[{number}/{self._total}] {step.stage.name}: done in {seconds:.1f} s")


def count_done(stage: Stage) -> int:
    """How far a stage is: files of its pattern in its output, or steps in its journal."""
    if stage.counted is None:
        return 0
    pattern, most = stage.counted
    if pattern == JOURNAL_FILE:
        return min(most, _steps(stage.output / JOURNAL_FILE))
    return min(most, sum(1 for _ in stage.output.glob(pattern)))


def _steps(journal: Path) -> int:
    """Steps done, by the end of a journal: it may have hundreds of thousands of lines."""
    try:
        with journal.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return 0
    last = next(csv.reader(lines[-1:]), [""])
    return int(last[0]) + 1 if last and last[0].isdecimal() else 0
