"""Which stages are to run, and why."""

import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from flare_infer.errors import UsageError
from train.differences import some_of
from train.record.journal import JOURNAL_FILE, read_journal
from train.workflow.stage import Stage
from train.workflow.stamp import Stamp, differences, fresh_stamps, read_stamp

_GB: Final = 1e9
_HOUR: Final = 3600.0
_LAST_STEPS: Final = 200
_GONE: Final = "its result was removed"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A stage, and what is to be done about it.

    Attributes:
        stage: the stage.
        stamp: what goes into it now.
        action: done, nothing to do; run, from the beginning; continue, after an interruption.
        reason: why, in words.
        changed: whether what is there was made from something else.
    """

    stage: Stage
    stamp: Stamp
    action: Literal["done", "run", "continue"]
    reason: str
    changed: bool = False


def make_plan(run: Path, stages: Sequence[Stage]) -> list[Step]:
    """What is to be done about each stage, as its stamp and its output stand now.

    A result that is gone is made again only if a stage that is to run reads it, or if it is an end in itself.

    Raises:
        UsageError: if the output of a stage is there and no stamp says that a pipeline made it.
        ReportError: if a stamp is damaged.
    """
    fresh = fresh_stamps(stages)
    steps = [_step(run, stage, fresh[stage.name]) for stage in stages]
    read = {name for stage in stages for name in stage.after}
    needed = {stage.name for stage in stages if stage.name not in read}
    for index in reversed(range(len(steps))):
        step = steps[index]
        if step.action == "run" and step.reason == _GONE and step.stage.name not in needed:
            step = Step(
                stage=step.stage, stamp=step.stamp, action="done", reason="done; removed since, nothing needs it"
            )
            steps[index] = step
        if step.action != "done":
            needed |= set(step.stage.after)
    return steps


def plan_text(steps: Sequence[Step]) -> str:
    """The plan as a table, with the commands of what is to run, and what a training run that has begun still takes."""
    width = max(len(step.stage.name) for step in steps)
    lines = []
    for number, step in enumerate(steps, start=1):
        left = _time_left(step)
        lines.append(f"{number:2d} {step.stage.name:{width}}  {step.action:8}  {step.reason}{left}")
        if step.action != "done":
            lines.append(f"   {step.stage.line}")
    count = sum(step.action != "done" for step in steps)
    lines.append(f"{count} of {len(steps)} stages to run" if count else f"all {len(steps)} stages are done")
    return "\n".join(lines)


def disk_note(run: Path) -> str:
    """How much disk is free where the run lies."""
    place = next(folder for folder in (run, *run.parents) if folder.exists())
    return f"{shutil.disk_usage(place).free / _GB:.1f} GB are free in {place}"


def _step(run: Path, stage: Stage, now: Stamp) -> Step:
    old = read_stamp(run, stage.name)
    if old is None:
        if _holds_something(stage.output):
            raise UsageError(
                f"{stage.output}: there already, and no stamp says that {stage.name} made it; move it away first"
            )
        return Step(stage=stage, stamp=now, action="run", reason="new")
    if old.sha256 != now.sha256:
        return Step(stage=stage, stamp=now, action="run", reason=some_of(differences(old, now)), changed=True)
    if old.state == "started":
        return Step(stage=stage, stamp=now, action="continue", reason="was interrupted")
    if not stage.is_there:
        return Step(stage=stage, stamp=now, action="run", reason=_GONE)
    return Step(stage=stage, stamp=old, action="done", reason="done")


def _holds_something(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def _time_left(step: Step) -> str:
    """What an interrupted training run still takes, by the median of its last steps; empty for all else."""
    journal, total = step.stage.counted or ("", 0)
    rows = read_journal(step.stage.output) if step.action == "continue" and journal == JOURNAL_FILE else []
    if not rows:
        return ""
    seconds = statistics.median(float(row["seconds"]) for row in rows[-_LAST_STEPS:])
    return f"; {max(0, total - int(rows[-1]['step']) - 1) * seconds / _HOUR:.1f} h left, by its own steps so far"
