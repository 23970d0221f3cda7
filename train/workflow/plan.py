"""Which stages are to run, and why."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from flare_infer.errors import UsageError
from train.workflow.estimate import Estimate, estimate
from train.workflow.stage import Stage
from train.workflow.stamp import Stamp, differences, fresh_stamps, read_stamp

_GB: Final = 1e9
_HOUR: Final = 3600.0
_DIFFERENCES_SHOWN: Final = 3
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
    """The plan as a table, with hours and disk of what is to run; it says that they are estimates."""
    estimates = [_estimate(step) for step in steps]
    width = max(len(step.stage.name) for step in steps)
    lines = []
    for number, (step, expected) in enumerate(zip(steps, estimates, strict=True), start=1):
        effort = ""
        if step.action != "done":
            effort = f"{_hours(expected.seconds)}, {expected.disk_bytes / _GB:.2f} GB"
            effort += " (by its own steps so far)" if expected.measured else ""
        lines.append(f"{number:2d} {step.stage.name:{width}}  {step.action:8}  {effort:20}  {step.reason}".rstrip())
        if step.action != "done":
            lines.append(f"   {step.stage.line}")
    left = [expected for step, expected in zip(steps, estimates, strict=True) if step.action != "done"]
    if left:
        seconds = sum(expected.seconds for expected in left)
        disk_bytes = sum(expected.disk_bytes for expected in left)
        lines.append(
            f"{len(left)} of {len(steps)} stages to run, some {_hours(seconds)} and {disk_bytes / _GB:.1f} GB: "
            "an estimate from numbers of cases and steps, not measured on this machine unless it says so"
        )
    else:
        lines.append(f"all {len(steps)} stages are done")
    return "\n".join(lines)


def disk_note(run: Path, steps: Sequence[Step]) -> str:
    """How much disk is free where the run lies, and whether that is less than what is estimated to be written."""
    place = next(folder for folder in (run, *run.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    needed = sum(_estimate(step).disk_bytes for step in steps if step.action != "done")
    short = f"; about {needed / _GB:.1f} GB will be written: make room" if needed > free else ""
    return f"{free / _GB:.1f} GB are free in {place}{short}"


def _step(run: Path, stage: Stage, now: Stamp) -> Step:
    old = read_stamp(run, stage.name)
    if old is None:
        if _holds_something(stage.output):
            raise UsageError(
                f"{stage.output}: there already, and no stamp says that {stage.name} made it; move it away first"
            )
        return Step(stage=stage, stamp=now, action="run", reason="new")
    if old.sha256 != now.sha256:
        found = differences(old, now)
        more = f" and {len(found) - _DIFFERENCES_SHOWN} more" if len(found) > _DIFFERENCES_SHOWN else ""
        reason = "; ".join(found[:_DIFFERENCES_SHOWN]) + more
        return Step(stage=stage, stamp=now, action="run", reason=reason, changed=True)
    if old.state == "started":
        return Step(stage=stage, stamp=now, action="continue", reason="was interrupted")
    if not stage.is_there:
        return Step(stage=stage, stamp=now, action="run", reason=_GONE)
    return Step(stage=stage, stamp=old, action="done", reason="done")


def _estimate(step: Step) -> Estimate:
    return estimate(step.stage, continues=step.action == "continue")


def _holds_something(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def _hours(seconds: float) -> str:
    return f"{seconds / _HOUR:.1f} h" if seconds >= _HOUR / 10 else f"{seconds:.0f} s"
