"""One job from its upload to its results, by the code of `flare-infer predict`."""

import os
import re
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Final

from flare_infer.commands.forms import FormOptions, output_forms
from flare_infer.dicom.series import Series
from flare_infer.errors import FlareError, one_line
from flare_infer.results.statistics_files import read_statistics
from flare_infer.runs.case_result import FolderCallbacks
from flare_infer.runs.folder import predict_cases
from flare_infer.runs.further import STATISTICS, OutputForms
from flare_infer.runs.scan import Scan
from flare_infer.segment.segmenter import Segmenter
from flare_serve.jobs.job import Job, Outcome
from flare_serve.jobs.progress import Windows
from flare_serve.jobs.spool import CASE, Spool, remove
from flare_serve.worker.scan import scan_of

_OF_SERIES: Final = "dicom-seg,rtstruct"
_FAULTS: Final = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""What libraries raise about damaged files: no upload may end the service. A case itself has its own boundary."""

_NO_ROOM: Final = (os.strerror(ENOSPC), os.strerror(EDQUOT))


class StoppedError(FlareError):
    """A job is no longer wanted, or the service ends."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What became of one run of a job.

    Attributes:
        outcome: how it ended.
        kind: done, or why not in one word, for counting: scan, memory, disk, stopped, unexpected.
        stages: seconds by stage: read, segment, write, further.
        first_window: when the first window began, in seconds since 1970; 0 if none did.
        details: the traceback of an unexpected error; empty otherwise.
    """

    outcome: Outcome
    kind: str
    stages: Mapping[str, float] = field(default_factory=dict)
    first_window: float = 0.0
    details: str = ""


def run_job(
    segmenter: Segmenter, spool: Spool, job: Job, windows: Callable[[Windows], None], stop: Callable[[], bool]
) -> Ran:
    """Segment the scan of a job and write all forms of the result into its folder.

    Args:
        segmenter: the model.
        spool: where the job lies.
        job: the job.
        windows: callback, called with how far it is.
        stop: callback; once it says True the run ends with the kind "stopped", at the latest after one row of windows.
    """
    results, work = spool.results(job.id), spool.work(job.id)
    try:
        for folder in (results, work):
            remove(folder)
            folder.mkdir(mode=0o700)
        taken = scan_of(spool.upload(job.id), work, job.series)
    except (FlareError, OSError) as error:
        reason = _line(str(error), spool, job.id)
        return Ran(outcome=Outcome(reason=reason), kind=_kind(reason, ""))
    except _FAULTS as error:
        reason = _line(f"the upload cannot be read: unexpected {type(error).__name__}: {error}", spool, job.id)
        return Ran(outcome=Outcome(reason=reason), kind="unexpected", details=traceback.format_exc())
    followed = _Followed(windows, stop)
    (result,) = predict_cases(
        segmenter, {CASE: taken.scan}, results, followed.callbacks, forms=_forms(segmenter, taken.scan)
    )
    lines = (*taken.notes, *followed.notices, *result.lacking)
    reason = result.reason or next((line for line in result.lacking if _is_full(line)), "")
    outcome = Outcome(
        reason=_line(reason, spool, job.id),
        notices=tuple(_line(line, spool, job.id) for line in lines),
        flags=_flags(results / f"{CASE}{STATISTICS}"),
        windows_ran=result.windows_ran,
        windows=result.windows,
        seconds=result.seconds,
    )
    kind = "stopped" if followed.stopped else _kind(reason, result.details)
    return Ran(
        outcome=outcome, kind=kind, stages=result.stages, first_window=followed.first_window, details=result.details
    )


class _Followed:
    """The callbacks of a run, and what they were told."""

    def __init__(self, windows: Callable[[Windows], None], stop: Callable[[], bool]) -> None:
        self.notices: list[str] = []
        self.first_window = 0.0
        self.stopped = False
        self._windows, self._stop = windows, stop
        self.callbacks = FolderCallbacks(windows=self._on_windows, notice=self._on_notice)

    def _on_windows(self, name: str, done: int, total: int) -> None:
        del name
        self._windows(Windows(done, total))
        self._end_if_asked()

    def _on_notice(self, name: str, line: str, routine: bool) -> None:
        del name
        if not routine:
            self.notices.append(line)
            return
        # The plan is routine, and is told when the first window is about to begin.
        self.first_window = self.first_window or time.time()
        self._end_if_asked()

    def _end_if_asked(self) -> None:
        if self._stop():
            self.stopped = True
            raise StoppedError("stopped")


def _forms(segmenter: Segmenter, scan: Scan) -> OutputForms:
    """All forms that can be made of a scan, without what sums up a folder."""
    to = _OF_SERIES if isinstance(scan, Series) else ""
    asked = FormOptions.of(to, "", statistics=True, preview=False, report=True)
    forms = output_forms(asked, ".nii.gz", segmenter.spec.labels, [scan])
    return replace(forms, folder=lambda outputs, beside, failed: None)


def _flags(statistics: Path) -> tuple[str, ...]:
    if not statistics.is_file():
        return ()
    return tuple(f"{flag.kind}: {flag.reason}" for flag in read_statistics(statistics).flags)


def _line(text: str, spool: Spool, job_id: str) -> str:
    """A line for the client: no path of this machine is in it, and no name that only the spool gives the upload."""
    for path in (spool.work(job_id) / "named" / "upload", spool.upload(job_id)):
        for known in sorted({str(path), str(path.resolve())}, key=len, reverse=True):
            own = re.escape(known) + r"(?:\.[a-z]+)*"
            text = re.sub(rf"{own}(?=$|[^/])", "the upload", re.sub(f"{own}: ", "", text))
    for path in (
        spool.work(job_id) / "named",
        spool.results(job_id),
        spool.work(job_id),
        spool.job(job_id),
        spool.folder,
    ):
        for known in sorted({str(path), str(path.resolve())}, key=len, reverse=True):
            text = text.replace(f"{known}/", "")
    return one_line(text)


def _kind(reason: str, details: str) -> str:
    if not reason:
        return "done"
    if details:
        return "unexpected"
    if _is_full(reason):
        return "disk"
    return "memory" if "memory ran out" in reason else "scan"


def _is_full(reason: str) -> bool:
    return any(words in reason for words in _NO_ROOM)
