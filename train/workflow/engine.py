"""Running a plan: stage after stage, each stamped when it begins and when it is done."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from flare_infer.errors import DatasetError
from flare_infer.files.backup import OLD_SUFFIX
from flare_infer.files.write_whole import write_whole
from train.workflow.launch import run_stage
from train.workflow.plan import Step
from train.workflow.stage import Stage
from train.workflow.stamp import write_stamp

LOGS: Final = "logs"
TABLES: Final = "tables"
PICTURES: Final = "pictures"


@dataclass(frozen=True, kw_only=True)
class PipelineCallbacks:
    """Functions that report how a pipeline goes on.

    Attributes:
        begins: called with number, step, before each stage that is to run.
        goes_on: called several times a second while a stage runs.
        ends: called after each stage, with the seconds it took; None if nothing was to do.
        notice: called with a line.
    """

    begins: Callable[[int, Step], None] = lambda number, step: None
    goes_on: Callable[[Stage], None] = lambda stage: None
    ends: Callable[[int, Step, float | None], None] = lambda number, step, seconds: None
    notice: Callable[[str], None] = lambda line: None


def run_plan(
    run: Path,
    steps: Sequence[Step],
    callbacks: PipelineCallbacks,
    start: Callable[[Stage, Path, Callable[[], None]], None] = run_stage,
) -> None:
    """Do what a plan says is to be done; killed at any moment, a new plan goes on from there.

    Args:
        run: the run folder.
        steps: the plan.
        callbacks: functions that report how it goes on.
        start: runs a stage's command; it gets the stage, its log and what to call meanwhile.

    Raises:
        UsageError: if a stage fails; those before it are done.
        DatasetError: if a stage ends well without a result.
        Interrupted: if a signal asks to stop.
    """
    for number, step in enumerate(steps, start=1):
        stage = step.stage
        if step.action == "done":
            callbacks.ends(number, step, None)
            continue
        callbacks.begins(number, step)
        if moved := settle_leftovers(step):
            callbacks.notice(f"{stage.output}: made from something else ({step.reason}); kept as {moved.name}")
        # From here on what lies in the output is this stage's, as it stands now.
        write_stamp(run, stage.name, step.stamp)
        began = time.monotonic()
        start(stage, run / LOGS / f"{stage.name}.log", partial(callbacks.goes_on, stage))
        seconds = time.monotonic() - began
        if not stage.is_there:
            raise DatasetError(f"{stage.output / stage.proof}: {stage.name} ended well, but did not write this")
        collect(run, stage)
        write_stamp(run, stage.name, replace(step.stamp, state="done", seconds=seconds))
        callbacks.ends(number, step, seconds)


def collect(run: Path, stage: Stage) -> None:
    """Copy the tables and pictures of a stage to where those of all stages lie; some may not be there."""
    for folder, files in ((TABLES, stage.tables), (PICTURES, stage.pictures)):
        for name, source in files.items():
            target = run / folder / name
            target.unlink(missing_ok=True)
            if (stage.output / source).is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                write_whole(target, (stage.output / source).read_bytes(), explained=False)


def settle_leftovers(step: Step) -> Path | None:
    """Make room for a stage, as `Stage.leftovers` says.

    What is there is the pipeline's own, as its stamp says; a plan is refused where no stamp does.

    Returns:
        where the old result was moved, if it was.
    """
    stage = step.stage
    if stage.leftovers == "kept" or not stage.output.exists():
        return None
    if step.changed:
        return _set_aside(stage.output)
    if stage.leftovers == "removed":
        shutil.rmtree(stage.output)
    return None


def _set_aside(folder: Path) -> Path:
    number = 1
    while (old := folder.with_name(f"{folder.name}{OLD_SUFFIX}-{number}")).exists():
        number += 1
    return folder.rename(old)
