"""Which cases of a folder are left to do, and the record of each that is done."""

import os
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final

import torch

from flare_infer.dicom.series import Series
from flare_infer.errors import FlareError
from flare_infer.files.backup import keep_old
from flare_infer.files.hashing import sha256_of_file
from flare_infer.results.case import SegmentedCase
from flare_infer.runs.case_result import CaseResult, FolderCallbacks
from flare_infer.runs.claims import Claims
from flare_infer.runs.further import LABEL_MAPS, OutputForms, Recorded, missing, remove_outdated
from flare_infer.runs.identity import SegmentationRecipe, peak_gpu_memory_mib, peak_memory_mib
from flare_infer.runs.report import CaseRecord, LabelMap, Records
from flare_infer.runs.scan import Scan, sha256_of_scan, stamp_of
from flare_infer.runs.sharing import claimed, tried_again_last
from flare_infer.segment.segmenter import SegmentationCallbacks

_HASH_SECONDS: Final = 2.0
"""How long the hash of a scan that failed is waited for: a damaged file may claim, and have, any size."""


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """The file of a scan as it was when its case began, and its hash, which a thread computes meanwhile."""

    stamp: tuple[int, int, int] | None
    sha256: Future[str]
    unwanted: Event


@dataclass(frozen=True, kw_only=True)
class Books:
    """The books of one run over a folder.

    Attributes:
        ledger: the records of the cases, of all runs.
        recipe: weights and options of this run.
        device: on which.
        cases: scans by case name.
        outputs: folder of the label maps.
        callbacks: callbacks for what happens.
        hasher: pool that hashes scans.
        again: whether everything is done again.
        forms: in which forms results are written.
        claims: claims of this process, if others work on the same folder.
    """

    ledger: Records
    recipe: SegmentationRecipe
    device: torch.device
    cases: Mapping[str, Scan]
    outputs: Path
    callbacks: FolderCallbacks
    hasher: ThreadPoolExecutor
    again: bool = False
    forms: OutputForms = LABEL_MAPS
    claims: Claims | None = None
    _stopping: Event = field(default_factory=Event)
    _scans: dict[str, _Scan] = field(default_factory=dict)
    _notices: dict[str, list[str]] = field(default_factory=dict)
    _before: dict[str, CaseRecord] = field(default_factory=dict)
    _further: dict[str, Recorded] = field(default_factory=dict)

    def order(self) -> list[str]:
        """The cases; last those that an earlier run started and did not end, the most suspicious at the very end.

        Each of these gets a notice: what killed the program may do so again, and must not keep the others waiting.
        """
        if self.claims is not None:
            # The largest first, so that none of the processes is left with one in the end.
            return sorted(self.cases, key=lambda name: -(stamp_of(self.cases[name]) or (0,))[0])
        suspects = self.ledger.never_ended
        for name, starts in suspects.items():
            self._tell(name, tried_again_last(starts))
        return sorted(self.cases, key=lambda name: suspects.get(name, 0))

    def output(self, name: str) -> Path:
        """Where the label map of a case belongs."""
        return self.outputs / f"{name}{self.forms.ending}"

    def begin(self, name: str, *, last: bool = False) -> CaseResult | None:
        """Open the record of a case, unless nothing is left to do with it: then its result.

        That is so if its label map is there and is what this run would write, or if another process is at work on it.

        Args:
            name: name of the case.
            last: whether all other cases are done, so that one may be tried that a process claimed and never ended.
        """
        if self.claims is None:
            return self._begun(name)
        starts, elsewhere = claimed(self.claims, self.ledger, name, last=last)
        if elsewhere is not None:
            return elsewhere
        if starts > 1:
            self._tell(name, f"was started {starts - 1} time(s) and not ended; tried again after the others")
        self.ledger.refresh()
        if (done := self._begun(name)) is not None:
            self.claims.drop(name)
        return done

    def _begun(self, name: str) -> CaseResult | None:
        """Open the record of a case, unless its label map is there and is what this run would write: then its result.

        An output counts as done only if the hashes of output, scan, weights and options are all those of the record.
        """
        image, output = self.cases[name], self.output(name)
        unwanted = Event()
        wanted = lambda: not (unwanted.is_set() or self._stopping.is_set())  # noqa: E731
        scan = _Scan(stamp=stamp_of(image), sha256=self.hasher.submit(sha256_of_scan, image, wanted), unwanted=unwanted)
        there = self.ledger.known(name, output)
        if there is None:
            if _is_file(output):
                self._tell(name, f"{output.name} is in no report, or was changed since; segmented again")
        elif self.again:
            self._tell(name, f"{output.name} is of an earlier run; segmented again")
        elif self.recipe.weights_sha256 and (input_sha256 := scan.sha256.result()):
            if there != self._label_map(there.output_sha256, input_sha256):
                self._tell(name, f"{output.name} is of {self._difference(there, input_sha256)}; segmented again")
            elif lacking := self._further_missing(name):
                self._tell(name, f"{lacking[0]}; segmented again")
            else:
                self.ledger.done_before(name, there)
                return CaseResult(name=name, output=output, seconds=0.0, done_before=True)
        if self._stopping.is_set():
            raise CancelledError
        self._scans[name] = scan
        self._before[name] = self.ledger.record(name)
        self.ledger.started(name)
        return None

    def of_case(self, name: str) -> SegmentationCallbacks:
        """Callbacks for the segmentation of one case; what matters is kept for the report."""
        callbacks = self.callbacks.of_case(name)

        def notice(line: str, routine: bool) -> None:
            callbacks.notice(line, routine)
            if not routine:
                self._notices.setdefault(name, []).append(line)

        return replace(callbacks, notice=notice)

    def notices(self, name: str) -> tuple[str, ...]:
        """Lines that the user was shown about a case so far."""
        return tuple(self._notices.get(name, ()))

    def written(self, name: str, part: Path) -> None:
        """The label map of a case is whole and gets its name next.

        What lies there already is kept if it is not ours and differs. The same bytes need no second name: an earlier
        run wrote them and had no room left to record it.

        Raises:
            OSError: if a file of that name that we did not write cannot be kept under another one.
        """
        if self.claims is not None and not self.claims.holds(name):
            raise FlareError("this process was suspended, and another one has taken the case over")
        output, output_sha256 = self.output(name), sha256_of_file(part)
        if _is_file(output) and self.ledger.known(name, output) is None and sha256_of_file(output) != output_sha256:
            self._tell(name, f"the {output.name} that was there is kept as {keep_old(output).name}")
        self.ledger.written(name, self._label_map(output_sha256, self._input_sha256(name)))

    def write_further(self, case: SegmentedCase) -> tuple[str, ...]:
        """Write what is wanted beside a label map that was just written; a line for each that could not be written."""
        before, say = self._before[case.name].further, partial(self._tell, case.name)
        self._further[case.name], lacking = self.forms.write(self.outputs, case, before, say)
        return tuple(lacking)

    def end(self, result: CaseResult) -> CaseResult:
        """Close the record of a case; a label map that this run could not make anew is put aside.

        So a label map in the folder is never that of another scan or model than the report says.
        """
        name, output = result.name, self.output(result.name)
        if self.claims is not None and not self.claims.holds(name):
            for of_cases in (self._scans, self._before, self._notices, self._further):
                of_cases.pop(name, None)
            return replace(result, output=None, reason="", details="", elsewhere=True)
        record = self.ledger.record(name)
        if result.output is None:
            input_sha256, is_there = self._input_sha256(name, failed=True), _is_file(output)
            # If the scan cannot even be hashed, as when a disk is away, nothing says that the label map is wrong.
            if input_sha256 and is_there:
                with suppress(OSError):
                    kept = keep_old(output)
                    output.unlink(missing_ok=True)
                    result = replace(result, reason=f"{result.reason} (an earlier label map is now {kept.name})")
            if input_sha256 or not is_there:
                record = replace(record, **asdict(LabelMap(input_sha256=input_sha256)))
        self._scans.pop(name)
        further = self._further_kept(record)
        seconds = {stage: round(value, 4) for stage, value in result.stages.items()}
        self.ledger.ended(
            replace(
                record,
                status="failed" if result.output is None else "written",
                reason=result.reason or "; ".join(result.lacking),
                seconds=round(result.seconds, 4),
                windows_ran=result.windows_ran,
                windows=result.windows,
                plan=result.plan,
                peak_memory_mib=peak_memory_mib(),
                peak_gpu_memory_mib=peak_gpu_memory_mib(self.device),
                notices=tuple(self._notices.pop(name, ())),
                read_seconds=seconds.get("read", 0.0),
                segment_seconds=seconds.get("segment", 0.0),
                write_seconds=seconds.get("write", 0.0),
                further=further,
            )
        )
        if self.claims is not None:
            self.claims.drop(name, failed=result.output is None)
        return result

    def stop(self) -> None:
        """No further case begins, and no hash is wanted any more."""
        self._stopping.set()

    def _tell(self, name: str, line: str) -> None:
        self.callbacks.notice(name, line, False)
        self._notices.setdefault(name, []).append(line)

    def _further_missing(self, name: str) -> list[str]:
        """A line for each wanted output beside a label map that is not there as this run would write it."""
        wanted = self.forms.of_case(name, is_series=isinstance(self.cases[name], Series))
        return missing(self.outputs, self.ledger.record(name).further, wanted)

    def _further_kept(self, record: CaseRecord) -> Recorded:
        """What lies beside the label map of a case that has come to an end.

        What an earlier run wrote beside another label map is removed.
        """
        name, before = record.name, self._before.pop(record.name)
        written = self._further.pop(name, {})
        others = {file: recorded for file, recorded in before.further.items() if file not in written}
        if record.label_map == before.label_map:
            return written | others
        for file in remove_outdated(self.outputs, others):
            self._tell(name, f"{file} was changed since it was written, and stays; it is of an earlier label map")
        return written

    def _label_map(self, output_sha256: str, input_sha256: str) -> LabelMap:
        return LabelMap(
            output_sha256=output_sha256,
            input_sha256=input_sha256,
            weights_sha256=self.recipe.weights_sha256,
            options_sha256=self.recipe.options_sha256,
        )

    def _difference(self, there: LabelMap, input_sha256: str) -> str:
        """In what the label map that lies there differs from the one this run makes."""
        if there.input_sha256 != input_sha256:
            return "another scan"
        return "other weights" if there.weights_sha256 != self.recipe.weights_sha256 else "other options"

    def _input_sha256(self, name: str, *, failed: bool = False) -> str:
        """The hash of a scan; empty if it is not known what was read, and then the label map never counts as done."""
        scan = self._scans[name]
        try:
            found = scan.sha256.result(_HASH_SECONDS if failed else None)
        except TimeoutError:
            scan.unwanted.set()
            return ""
        if found and scan.stamp != stamp_of(self.cases[name]):
            if not failed:
                self._tell(name, "the scan's file was changed while it was read; the label map may be of either")
            return ""
        return found


def _is_file(path: Path) -> bool:
    """Whether there is a file; unlike `Path.is_file` it has no errors, whatever the name."""
    return os.path.isfile(path)
