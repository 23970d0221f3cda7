"""What is known about the cases of an outputs folder, over all runs, kept so that no kill loses it.

Every step of a case is a line in a hidden journal before anything else depends on it: that it starts, the hashes of its
label map before the file gets its final name, how it ended. The report is written when a run begins, now and then, and
when it ends; then the journal goes. The next run reads both.

Processes that share a folder (`claims`) have a journal each, whose lines carry the file server's time; each follows the
journals of the others, and the last one to end removes them.
"""

import datetime
import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from flare_infer.errors import ReportError
from flare_infer.files.backup import keep_old
from flare_infer.files.hashing import sha256_of_file
from flare_infer.files.write_whole import to_disk
from flare_infer.runs.claims import Claims
from flare_infer.runs.report import (
    REPORT_FILE,
    CaseRecord,
    LabelMap,
    read_report,
    record_from,
    with_shared_texts,
    write_run_report,
)
from flare_infer.shell.interrupt import Interrupted

LEDGER_FILE: Final = ".flare-infer.journal"

_REWRITE_SECONDS: Final = 5.0
_REWRITE_SHARE: Final = 0.02
"""During a run the report is written again at most so often, and in at most this share of the time."""


class Ledger:
    """The records of an outputs folder; may be used from several threads.

    As a context it writes the report when a run begins and when it ends, however that is. That a report cannot be
    written gets one line and stops nothing: label maps matter more.

    Args:
        outputs: an existing folder, on which no other run works.
        facts: facts about the run as a whole, of types that JSON has.
        images: names of the scans' files, by case name.
        say: callback for trouble with the report, called with one line.
        claims: claims of this process, if others work on the same folder.
    """

    def __init__(
        self,
        outputs: Path,
        facts: Mapping[str, Any],
        images: Mapping[str, str],
        say: Callable[[str], None],
        claims: Claims | None = None,
    ) -> None:
        self._outputs = outputs
        self._say = say
        self._claims = claims
        self._own_journal = outputs / (LEDGER_FILE if claims is None else f"{LEDGER_FILE}-{claims.id}")
        self._entered = False
        self._read_until: dict[Path, int] = {}
        self._times: dict[str, float] = {}
        self._guard = threading.RLock()
        self._journal: int | None = None
        self._in_trouble = False
        self._began = self._written_at = time.perf_counter()
        self._write_seconds = 0.0
        self._run: dict[str, Any] = {"began": _now(), "ended": None, "state": "running", "seconds": 0.0, **facts}
        self._earlier_maps: dict[str, set[LabelMap]] = {}
        self._records: dict[str, CaseRecord] = {}
        self.refresh()
        for record in self._in_report():
            # Journals were read first: once they are gone, all that they held is in the report.
            if self._records.setdefault(record.name, record) is not record:
                self._remember(record)
        self._earlier = earlier = self._records
        self.never_ended = {
            name: earlier[name].starts
            for name in images
            if claims is None and name in earlier and earlier[name].status == "started"
        }
        """Cases of this run that an earlier one started and did not end, and how often that happened; none if others
        work on the folder, since these may have started them."""
        self._begun: set[str] = set()
        here = {name: image for name, image in images.items() if claims is None or name not in self._times}
        own = {name: self._expected(name, image) for name, image in here.items()}
        self._records = own | {name: record for name, record in earlier.items() if name not in own}

    def record(self, name: str) -> CaseRecord:
        """How a case stands."""
        with self._guard:
            return self._records[name]

    def further(self) -> dict[str, tuple[str, ...]]:
        """Of every case whose label map is there the names of what lies beside it, earlier runs included."""
        with self._guard:
            return {
                record.name: tuple(record.further)
                for record in self._records.values()
                if record.status in {"written", "done before"}
            }

    def known(self, name: str, output: Path) -> LabelMap | None:
        """The label map that lies at `output`, if it is one that we wrote and that was not changed since."""
        candidates = {label_map.output_sha256: label_map for label_map in self.label_maps(name)}
        return candidates.get(sha256_of_file(output)) if candidates else None

    def label_maps(self, name: str) -> frozenset[LabelMap]:
        """All label maps of a case that are known: what lies in its place may be one of them."""
        with self._guard:
            last = self._records[name].label_map if name in self._records else LabelMap()
            return frozenset({*self._earlier_maps.get(name, ()), *([last] if last.output_sha256 else [])})

    def done_before(self, name: str, label_map: LabelMap) -> None:
        """There is nothing to do for a case; what its label map once cost is kept."""
        with self._guard:
            record, earlier = self._records[name], self._earlier.get(name)
            if earlier is not None and earlier.label_map == label_map:
                record = replace(earlier, image=record.image, run=record.run)
            self.ended(replace(record, status="done before", reason="", **asdict(label_map)))

    def started(self, name: str) -> None:
        """A case begins."""
        with self._guard:
            self._begun.add(name)
            record = self._records[name]
            self._note(replace(record, status="started", reason="", starts=record.starts + 1))

    def written(self, name: str, label_map: LabelMap) -> None:
        """A label map is whole and about to get its final name; from now on it is known by its hash."""
        with self._guard:
            self._note(replace(self._records[name], **asdict(label_map)))
            if self._journal is not None:
                with self._trouble_reported():
                    to_disk(self._journal)

    def ended(self, record: CaseRecord) -> None:
        """A case has come to an end, good or bad."""
        with self._guard:
            self._note(replace(record, starts=0))
            self._begun.discard(record.name)
            if time.perf_counter() - self._written_at > max(_REWRITE_SECONDS, self._write_seconds / _REWRITE_SHARE):
                self._write()

    def refresh(self) -> bool:
        """Take in what other processes have noted in their journals since; whether there was something."""
        with self._guard:
            found = [line for path in self._journals() for line in self._new_lines(path)]
            for time_noted, record in sorted(found, key=lambda line: line[0]):
                if time_noted >= self._times.get(record.name, 0.0):
                    self._keep(record)
                    self._times[record.name] = time_noted
                else:
                    self._remember(record)
        return bool(found)

    def __enter__(self) -> Self:
        with self._guard, self._trouble_reported():
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._journal = os.open(self._own_journal, flags, 0o666)
        self._entered = True
        self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._guard:
            why = str(error) if isinstance(error, Interrupted) else "" if kind is None else f"ended by {kind.__name__}"
            for record in [self._records[name] for name in self._begun]:
                if record.status == "started" and (self._claims is None or self._claims.holds(record.name)):
                    self._note(replace(record, status="interrupted", reason=why, starts=0))
            self._run |= {"ended": _now(), "state": "interrupted" if kind else "complete"}
            if self._journal is not None:
                os.close(self._journal)
                self._journal = None
            # Another process may write an older report over this one: then what it noted since is found here.
            self.refresh()
            written = self._write(safely=True)
            while written and self.refresh():
                written = self._write(safely=True)
            # Only now, since the journals that hold the same go next.
            if written and (self._claims is None or not self._claims.others_alive()):
                for path in self._journals():
                    with suppress(OSError):
                        path.unlink()

    def _in_report(self) -> Iterator[CaseRecord]:
        try:
            yield from read_report(self._outputs).values()
        except ReportError as error:
            with self._trouble_reported():
                old = keep_old(self._outputs / REPORT_FILE)
                self._say(f"{error}; it is kept as {old.name}, and nothing counts as done")

    def _journals(self) -> list[Path]:
        """The journals of all processes, this one's included, in which every line is read once."""
        return sorted(self._outputs.glob(f"{LEDGER_FILE}*"))

    def _new_lines(self, path: Path) -> Iterator[tuple[float, CaseRecord]]:
        """Records that were added to a journal since it was last read, each with the time when it was noted."""
        if path == self._own_journal and self._entered:
            return
        start = self._read_until.get(path, 0)
        try:
            with path.open("rb") as file:
                file.seek(start)
                added = file.read()
        except OSError:
            return
        until = start
        for line in added.splitlines(keepends=True):
            # What a kill or a full disk cut short is no record; at the end it may only not be whole yet.
            with suppress(ValueError, RecursionError, ReportError):
                content = json.loads(line)
                yield float(content.get("noted", 0.0)), record_from(content)
                until += len(line)
                continue
            if line.endswith(b"\n"):
                until += len(line)
        self._read_until[path] = until

    def _expected(self, name: str, image: str) -> CaseRecord:
        """The record of a case of this run before it starts."""
        before = CaseRecord(name=name, image=image, run=self._run["began"])
        earlier = self._records.get(name)
        if earlier is not None:
            before = replace(before, **asdict(earlier.label_map), further=earlier.further)
        if name in self.never_ended:
            starts = self.never_ended[name]
            before = replace(before, status="started", starts=starts, reason="started by an earlier run, never ended")
        return before

    def _keep(self, record: CaseRecord) -> None:
        """Keep a record instead of the one before."""
        if (before := self._records.get(record.name)) is not None and before.label_map != record.label_map:
            self._remember(before)
        self._records[record.name] = with_shared_texts(record, before)

    def _remember(self, record: CaseRecord) -> None:
        """Know its label map again, though a later record is kept instead of this one."""
        if record.output_sha256:
            self._earlier_maps.setdefault(record.name, set()).add(record.label_map)

    def _note(self, record: CaseRecord) -> None:
        """Keep a record; once this returns, no kill of the program loses it."""
        self._keep(record)
        if self._journal is None:
            return
        noted = {}
        if self._claims is not None:
            self._times[record.name] = self._claims.now()
            noted["noted"] = self._times[record.name]
        # The line break comes first, so that it also ends a line that was cut short.
        line = f"\n{json.dumps(asdict(record) | noted)}".encode()
        with self._trouble_reported():
            if os.write(self._journal, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _write(self, *, safely: bool = False) -> bool:
        """Write the report; whether that went well."""
        started = time.perf_counter()
        done = False
        self._run["seconds"] = round(started - self._began, 3)
        if self._claims is not None:
            self.refresh()
        with self._trouble_reported():
            write_run_report(self._outputs, self._run, self._records.values(), safely=safely)
            done = True
        self._written_at = time.perf_counter()
        self._write_seconds = self._written_at - started
        return done

    @contextmanager
    def _trouble_reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._in_trouble:
                self._in_trouble = True
                reason = error.strerror or error
                self._say(f"{self._outputs}: the report cannot be kept ({reason}); label maps are written all the same")


def _now() -> str:
    return datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="milliseconds")
