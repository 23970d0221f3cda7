"""Which worker does which case: the largest first, lost ones again, slow ones twice, each with one result."""

import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from flare_infer.cluster.task import Answer, Answered, Crew, Lost, RemoteFile, Source, Task
from flare_infer.runs.case_result import CaseResult, FolderCallbacks, Tally
from flare_infer.runs.ledger import Ledger
from flare_infer.runs.scan import stamp_of
from flare_infer.runs.sharing import given_up, tried_again_last

MOST_LOSSES: Final = 3
"""A case whose worker was lost so often is most likely what ends them: it fails."""

_SLOW: Final = 3.0
"""A case that has taken so many times the median is done by a second worker, too, ..."""

_SLOW_SECONDS: Final = 30.0
"""... if it has taken so long at least."""

_WAIT_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 20.0


class Dispatch:
    """The cases of one run on their way through the workers.

    Args:
        crew: the workers.
        ledger: the records of all cases.
        cases: what is to be done, by name.
        callbacks: callbacks for what happens.
        tally: counts the cases that come to an end.
        clock: gives the time in seconds; only differences count.
    """

    def __init__(
        self,
        crew: Crew,
        ledger: Ledger,
        cases: Mapping[str, Source],
        callbacks: FolderCallbacks,
        tally: Tally,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._crew, self._ledger, self._cases, self._callbacks = crew, ledger, cases, callbacks
        self._tally = tally
        self._left = len(cases)
        self._clock = clock
        suspects = ledger.never_ended
        self._fresh = deque(
            sorted((name for name in cases if name not in suspects), key=lambda name: -_size(cases[name]))
        )
        self._alone = deque(sorted((name for name in cases if name in suspects), key=lambda name: suspects[name]))
        self._suspects = set(self._alone)
        self._twice: set[str] = set()
        self._held: dict[int, dict[str, float]] = {}
        self._losses: Counter[str] = Counter()
        self._notices: dict[str, list[str]] = {}
        self._seconds: deque[float] = deque(maxlen=200)
        for name in self._alone:
            self._tell(name, tried_again_last(suspects[name]))

    def run(self) -> None:
        """Do all cases.

        Raises:
            UsageError: if no worker is left, and none can be had.
        """
        while self._left:
            self._hand_out()
            self._take_in(_WAIT_SECONDS)

    def stop(self) -> None:
        """Take what workers have nearly finished, and nothing else."""
        self._crew.stop()
        end = self._clock() + _STOP_SECONDS
        while any(self._held.values()) and self._clock() < end:
            self._take_in(_WAIT_SECONDS)

    def _take_in(self, seconds: float) -> None:
        for event in self._crew.events(seconds):
            if isinstance(event, Lost):
                self._lost(event)
            else:
                self._answered(event)

    def _hand_out(self) -> None:
        """Give every worker what it can take now; one more case each in turn, so that none has all of them."""
        members = self._crew.members()
        # Towards the end a worker that has the next two lying about would keep an idle one waiting.
        depth = self._crew.depth if len(self._fresh) > 2 * len(members) else min(self._crew.depth, 2)
        for level in range(depth):
            for member in members:
                held = self._held.setdefault(member, {})
                if self._fresh and len(held) == level and not held.keys() & self._suspects:
                    self._give(member, self._fresh.popleft())
        for member in members:
            if not self._fresh and not self._held[member]:
                if self._alone:
                    self._give(member, self._alone.popleft())
                elif (slow := self._slowest()) is not None:
                    self._give(member, slow, again=True)

    def _give(self, member: int, name: str, *, again: bool = False) -> None:
        """Give a case to a worker; `again` if another one still has it."""
        task = Task(
            name=name,
            source=self._cases[name],
            record=self._ledger.record(name),
            label_maps=self._ledger.label_maps(name),
        )
        if again:
            self._twice.add(name)
        else:
            self._ledger.started(name)
        self._held[member][name] = self._clock()
        self._crew.give(member, task)

    def _slowest(self) -> str | None:
        """The case that takes much longer than others, if there is one; no case is given to a third worker."""
        usual = statistics.median(self._seconds) if self._seconds else 0.0
        late = self._clock() - max(_SLOW * usual, _SLOW_SECONDS)
        held = {name: began for of_worker in self._held.values() for name, began in of_worker.items()}
        slow = {name: began for name, began in held.items() if name not in self._suspects | self._twice}
        slowest = min(slow, key=lambda name: slow[name], default=None)
        return slowest if slowest is not None and slow[slowest] < late else None

    def _answered(self, event: Answered) -> None:
        name, began = event.name, self._held.get(event.member, {}).pop(event.name, self._clock())
        if name in self._tally.ended:
            return
        if event.answer.result.elsewhere:
            if not any(name in held for held in self._held.values()):
                self._alone.append(name)  # whoever was faster was lost before it could say so
            return
        self._seconds.append(self._clock() - began)
        self._end(name, event.answer)

    def _end(self, name: str, answer: Answer) -> None:
        """Note how a case ended, and show it."""
        for line, routine in answer.notices:
            self._callbacks.notice(name, line, routine)
        record, result = answer.record, answer.result
        if result.done_before:
            self._ledger.done_before(name, record.label_map)
        else:
            lines = (*self._notices.pop(name, ()), *record.notices)
            self._ledger.ended(replace(record, notices=lines))
        self._tally.add(result)
        self._left -= 1
        self._callbacks.finished(result)

    def _lost(self, event: Lost) -> None:
        """Give what a lost worker had to others: last and one at a time, since one of the cases may have ended it."""
        for name in self._held.pop(event.member, {}):
            if name in self._tally.ended or any(name in held for held in self._held.values()):
                continue
            self._losses[name] += 1
            if self._losses[name] < MOST_LOSSES:
                self._tell(name, f"its worker was lost ({event.reason}); tried again after the others")
                self._suspects.add(name)
                self._alone.append(name)
                continue
            reason = given_up(str(self._cases[name]), self._losses[name])
            record = replace(self._ledger.record(name), status="failed", reason=reason)
            failed = CaseResult(name=name, output=None, seconds=0.0, reason=reason)
            self._end(name, Answer(result=failed, record=record))

    def _tell(self, name: str, line: str) -> None:
        self._callbacks.notice(name, line, False)
        self._notices.setdefault(name, []).append(line)


def _size(source: Source) -> int:
    """Bytes of a scan's file, by which the longest come first."""
    return source.size if isinstance(source, RemoteFile) else (stamp_of(source) or (0,))[0]
