"""What `flare-train pipeline` shows: a line for every stage, and on a terminal how far it is."""

import csv
import os
from pathlib import Path
from typing import Final

import typer
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flare_infer.shell.progress import Progress
from train.record.journal import JOURNAL_FILE
from train.workflow.engine import PipelineCallbacks
from train.workflow.plan import Step
from train.workflow.stage import Stage

_SECONDS_BETWEEN_COUNTS: Final = 2.0
_TAIL_BYTES: Final = 4096


class PipelineProgress(Progress):
    """Follows a pipeline; bars are drawn on a terminal only.

    Args:
        total: number of stages.
    """

    def __init__(self, total: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:g} of {task.total:g}"))
        super().__init__(*columns, TimeElapsedColumn(), TimeRemainingColumn())
        self._total = total
        self._stages = self.bars.add_task("stages", total=total)
        self._inside: TaskID | None = None
        self.callbacks = PipelineCallbacks(
            begins=self._begins, goes_on=self._goes_on, ends=self._ends, notice=typer.echo
        )

    def _begins(self, number: int, step: Step) -> None:
        typer.echo(f"[{number}/{self._total}] {step.stage.name}: {step.reason}")
        typer.echo(f"  {step.stage.line}")
        if step.stage.counted is not None:
            done = count_done(step.stage) if self.interactive else 0
            self._inside = self.bars.add_task(step.stage.name, total=step.stage.counted[1], completed=done)

    def _goes_on(self, stage: Stage) -> None:
        # Counting lists thousands of names: not at every call, and only where a bar is drawn.
        if self._inside is not None and self.interactive and self.due(_SECONDS_BETWEEN_COUNTS):
            self.bars.update(self._inside, completed=count_done(stage))

    def _ends(self, number: int, step: Step, seconds: float | None) -> None:
        if self._inside is not None:
            self.bars.remove_task(self._inside)
            self._inside = None
        self.bars.update(self._stages, completed=number)
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
