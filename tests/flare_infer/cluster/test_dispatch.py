"""Which worker does which case, and what becomes of those whose worker is lost; the workers are invented."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from flare_infer.cluster.dispatch import MOST_LOSSES, Dispatch
from flare_infer.cluster.task import Answer, Answered, Lost, RemoteFile, Task
from flare_infer.errors import UsageError
from flare_infer.runs.case_result import CaseResult, FolderCallbacks, Tally
from flare_infer.runs.ledger import Ledger
from flare_infer.runs.report import read_report

Doing = Callable[[int, Task], Answer | str | None]
"""What a worker makes of a case: an answer, the reason why it is lost, or nothing at all for now."""


class Clock:
    """A clock that goes on by itself each time that nothing happens."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Invented:
    """Workers that do as they are told; each one that is lost is followed by another one."""

    def __init__(self, count: int, doing: Doing, clock: Clock, depth: int = 2) -> None:
        self.depth = depth
        self.given: list[tuple[int, str]] = []
        self.stopped = False
        self._numbers = list(range(count))
        self._doing, self._clock = doing, clock
        self._waiting: list[tuple[int, Task]] = []

    def members(self) -> Sequence[int]:
        return tuple(self._numbers)

    def give(self, member: int, task: Task) -> None:
        self.given.append((member, task.name))
        self._waiting.append((member, task))

    def stop(self) -> None:
        self.stopped = True

    def events(self, seconds: float) -> Sequence[Answered | Lost]:
        assert len(self.given) < 100
        for place, (member, task) in enumerate(self._waiting):
            made = self._doing(member, task)
            if made is None:
                continue
            if isinstance(made, str):
                self._waiting = [waiting for waiting in self._waiting if waiting[0] != member]
                self._numbers = [number for number in self._numbers if number != member] + [member + 100]
                return [Lost(member=member, reason=made)]
            del self._waiting[place]
            return [Answered(member=member, name=task.name, answer=made)]
        self._clock.seconds += seconds
        if self._clock.seconds > 1000:
            raise UsageError("nothing happens any more")
        return []


def done(task: Task, **changes: object) -> Answer:
    """A case that is written."""
    result = CaseResult(name=task.name, output=Path(f"{task.name}.nii.gz"), seconds=1.0)
    record = replace(task.record, status="written", output_sha256="ab", starts=0)
    return Answer(result=replace(result, **changes), record=record)  # type: ignore[arg-type]


class Run:
    """A run over cases of the given sizes, from the ledger to the report."""

    def __init__(self, outputs: Path, sizes: dict[str, int], doing: Doing, workers: int = 2, depth: int = 2) -> None:
        self.outputs, self.clock = outputs, Clock()
        self.crew = Invented(workers, doing, self.clock, depth)
        self.cases = {name: RemoteFile(f"s3://ct/{name}_0000.nii.gz", size) for name, size in sizes.items()}
        self.tally = Tally()
        self.shown: list[CaseResult] = []
        self.lines: list[str] = []

    def __call__(self) -> dict[str, str]:
        callbacks = FolderCallbacks(
            finished=self.shown.append, notice=lambda name, line, routine: self.lines.append(f"{name}: {line}")
        )
        images = {name: f"{name}_0000.nii.gz" for name in self.cases}
        with Ledger(self.outputs, {}, images, self.lines.append) as ledger:
            Dispatch(self.crew, ledger, self.cases, callbacks, self.tally, self.clock).run()
        assert sorted(result.name for result in self.shown) == sorted(self.tally.ended)
        return {name: record.status for name, record in read_report(self.outputs).items()}


SIZES = {"small": 1, "large": 9, "middle": 5, "tiny": 0}


def test_the_largest_come_first_and_workers_get_one_each_before_any_gets_two(tmp_path: Path) -> None:
    run = Run(tmp_path, SIZES, lambda member, task: done(task))
    assert set(run().values()) == {"written"}
    assert run.crew.given[:4] == [(0, "large"), (1, "middle"), (0, "small"), (1, "tiny")]
    assert len(run.crew.given) == len(SIZES)


def test_a_case_whose_worker_was_lost_is_tried_again_last_and_alone(tmp_path: Path) -> None:
    run = Run(tmp_path, SIZES, lambda member, task: "gone" if member == 0 else done(task))
    assert set(run().values()) == {"written"}
    again = [(member, name) for member, name in run.crew.given if name in {"large", "small"}][2:]
    assert [name for _, name in run.crew.given[-2:]] == [name for _, name in again]
    assert any("large: its worker was lost (gone)" in line for line in run.lines)
    record = read_report(tmp_path)["large"]
    assert "its worker was lost" in record.notices[0]
    assert record.starts == 0


def test_a_case_that_ends_every_worker_fails_once_and_takes_no_other_case_along(tmp_path: Path) -> None:
    run = Run(tmp_path, SIZES, lambda member, task: "gone" if task.name == "large" else done(task), workers=1)
    assert run() == {"small": "written", "middle": "written", "tiny": "written", "large": "failed"}
    assert [name for _, name in run.crew.given].count("large") == MOST_LOSSES
    (failed,) = [result for result in run.shown if result.output is None]
    assert failed.reason.startswith("s3://ct/large_0000.nii.gz: was started 3 times and never ended")
    assert read_report(tmp_path)["large"].reason == failed.reason


def test_a_straggler_is_done_by_a_second_worker_and_counted_once(tmp_path: Path) -> None:
    run = Run(tmp_path, SIZES, lambda member, task: None if (member, task.name) == (0, "large") else done(task))
    assert set(run().values()) == {"written"}
    assert [member for member, name in run.crew.given if name == "large"] == [0, 1]
    assert run.clock.seconds >= 30


def test_the_slower_of_two_workers_on_a_case_changes_nothing(tmp_path: Path) -> None:
    def doing(member: int, task: Task) -> Answer | None:
        late = {"large": 60 if member == 0 else 0, "tiny": 90}.get(task.name, 0)
        return done(task) if run.clock.seconds >= late else None

    run = Run(tmp_path, SIZES, doing, workers=3)
    assert set(run().values()) == {"written"}
    assert [member for member, name in run.crew.given if name == "large"] == [0, 1]
    assert sorted(result.name for result in run.shown) == sorted(SIZES)


def test_a_worker_that_finds_its_case_done_leaves_it_to_the_other(tmp_path: Path) -> None:
    def doing(member: int, task: Task) -> Answer | None:
        if task.name != "large" or member == 1:
            return done(task, elsewhere=task.name == "large")
        return done(task) if run.clock.seconds > 60 else None

    run = Run(tmp_path, SIZES, doing)
    assert set(run().values()) == {"written"}
    assert [member for member, name in run.crew.given if name == "large"] == [0, 1]


def test_what_an_earlier_run_never_ended_comes_last_and_alone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, {}, {"large": "large_0000.nii.gz"}, print)
    ledger.__enter__()
    ledger.started("large")  # and the program is killed
    run = Run(tmp_path, SIZES, lambda member, task: done(task), workers=1)
    assert set(run().values()) == {"written"}
    assert run.crew.given[-1][1] == "large"
    assert any("large: was started by an earlier run and never ended" in line for line in run.lines)


def test_when_no_worker_is_left_the_report_says_what_is_missing(tmp_path: Path) -> None:
    run = Run(tmp_path, SIZES, lambda member, task: done(task) if task.name == "large" else None)
    with pytest.raises(UsageError):
        run()
    records = read_report(tmp_path)
    assert records["large"].status == "written"
    assert {records[name].status for name in ("small", "middle", "tiny")} <= {"interrupted", "waiting"}
