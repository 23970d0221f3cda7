"""What becomes of the cases of a folder, and the callbacks that report it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from flare_infer.segment.segmenter import SegmentationCallbacks


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """What became of one case.

    Attributes:
        name: case name.
        output: the label map written, now or by an earlier run; None if the case failed.
        seconds: reading, segmenting and writing, without waiting for other cases.
        windows_ran: windows that the network ran.
        windows: windows of the whole grid, those that needed not run included.
        reason: one line that says why it failed; empty if it did not.
        details: the traceback of an unexpected error, for its correction; empty otherwise.
        done_before: whether an earlier run wrote just this label map, so that nothing was left to do.
        stages: the seconds by stage: read, segment, write.
        plan: device, precision and sizes with which it was segmented.
        elsewhere: whether another process is at work on it, so that it has not come to an end.
        lacking: a line for each further output that could not be written; the label map is there all the same.
    """

    name: str
    output: Path | None
    seconds: float
    windows_ran: int = 0
    windows: int = 0
    reason: str = ""
    details: str = ""
    done_before: bool = False
    stages: Mapping[str, float] = field(default_factory=dict)
    plan: str = ""
    elsewhere: bool = False
    lacking: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Tally:
    """What became of the cases of a run, in numbers: results themselves would fill the memory of a long run.

    Attributes:
        ended: names of the cases that have come to an end.
        failed: by name, why a case failed.
        lacking: how many have a label map and lack something else that was wanted.
    """

    ended: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    lacking: int = 0

    @classmethod
    def of(cls, results: Iterable[CaseResult]) -> Self:
        """The tally of some cases."""
        tally = cls()
        for result in results:
            tally.add(result)
        return tally

    def add(self, result: CaseResult) -> None:
        """Count a case."""
        self.ended.add(result.name)
        self.lacking += bool(result.lacking)
        if result.output is None:
            self.failed[result.name] = result.reason


@dataclass(frozen=True, kw_only=True)
class FolderCallbacks:
    """Callbacks for what happens to the cases of a folder; some are called from other threads.

    Attributes:
        windows: called with (case, windows done or passed over, windows in all).
        notice: called with (case, a line, whether it is routine).
        finished: called after each case.
        trouble: called with a line about what concerns no single case, such as a report that cannot be written.
    """

    windows: Callable[[str, int, int], None] = lambda name, done, total: None
    notice: Callable[[str, str, bool], None] = lambda name, line, routine: None
    finished: Callable[[CaseResult], None] = lambda result: None
    trouble: Callable[[str], None] = lambda line: None

    def of_case(self, name: str) -> SegmentationCallbacks:
        """The callbacks of one case."""
        return SegmentationCallbacks(
            windows=lambda done, total: self.windows(name, done, total),
            notice=lambda line, routine: self.notice(name, line, routine),
        )
