"""Every case of a folder: one bad case never stops the others.

While one case is segmented, a thread reads and prepares the next and another writes the last: the network never waits
for a disk. There are no further processes and no shared memory.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Generic, TypeAlias, TypeVar

from flare_infer.dicom.series import Series
from flare_infer.errors import FlareError, ran_out_of_memory
from flare_infer.formats.volume_io import write_volume
from flare_infer.results.case import SegmentedCase
from flare_infer.runs.bookkeeping import Books
from flare_infer.runs.case_result import CaseResult, FolderCallbacks
from flare_infer.runs.further import LABEL_MAPS, OutputForms
from flare_infer.runs.identity import facts_of, made_with, recipe_of
from flare_infer.runs.ledger import Ledger
from flare_infer.runs.scan import Scan, read_scan, with_scan_aside
from flare_infer.segment.memory_plan import plan_in_words
from flare_infer.segment.segmenter import Prepared, Segmentation, SegmentationCallbacks, Segmenter
from flare_infer.shell.interrupt import Interrupted
from flare_infer.volume.label_values import refuse_label_map
from flare_infer.volume.sides import side_doubts
from flare_infer.volume.volume import Volume

_NO_CALLBACKS = FolderCallbacks()


def predict_cases(
    segmenter: Segmenter,
    cases: Mapping[str, Scan],
    outputs: Path,
    callbacks: FolderCallbacks = _NO_CALLBACKS,
    *,
    again: bool = False,
    refused: Sequence[CaseResult] = (),
    forms: OutputForms = LABEL_MAPS,
) -> list[CaseResult]:
    """Segment cases one after the other, each into `outputs/NAME.nii.gz`, and keep the report of `outputs`.

    What an earlier run did is left alone if nothing that decides labels has changed since (`bookkeeping`).

    Args:
        segmenter: the model.
        cases: scans by case name.
        outputs: an existing folder, on which no other run works.
        callbacks: callbacks for what happens.
        again: whether to do everything again.
        refused: further cases of the same folder that have failed already; they are reported and recorded.
        forms: in which forms results are written, and whether other processes work on the same folder.

    Returns:
        one result for each case: those refused, then the others in order.

    Raises:
        Interrupted: if a signal asks to stop; what was written until then is whole and in the report.
    """
    results = {result.name: result for result in refused}
    every = {**{result.name: Path() for result in refused}, **cases}
    with (
        forms.claims or nullcontext() as claims,
        Ledger(outputs, facts_of(segmenter), every, callbacks.trouble, claims) as ledger,
        ThreadPoolExecutor(1, "hasher") as hasher,
        ThreadPoolExecutor(1, "reader") as reader,
        ThreadPoolExecutor(1, "writer") as writer,
    ):
        books = Books(
            ledger=ledger,
            recipe=recipe_of(segmenter),
            device=segmenter.compute.device,
            cases=cases,
            outputs=outputs,
            callbacks=callbacks,
            hasher=hasher,
            again=again,
            forms=forms,
            claims=claims,
        )
        for result in refused:
            ledger.ended(replace(ledger.record(result.name), status="failed", reason=result.reason))
            callbacks.finished(result)
        try:
            _in_turn(segmenter, books, results, reader, writer)
            _rest(segmenter, books, results, reader, writer)
        finally:
            _sum_up(books, results, callbacks)
    return [*refused, *(results[name] for name in cases)]


def _in_turn(
    segmenter: Segmenter,
    books: Books,
    results: dict[str, CaseResult],
    reader: ThreadPoolExecutor,
    writer: ThreadPoolExecutor,
    *,
    names: Sequence[str] | None = None,
) -> None:
    """Segment one case after the other and fill in the results; all cases, or some of them that come last."""
    writing: Future[CaseResult] | None = None
    try:
        for name, read, alone in _read_ahead(segmenter, books, reader, names):
            segmented = _segmented(segmenter, read, books.of_case(name))
            _finish(writing, results, books.callbacks)
            writing = writer.submit(_written, segmenter, books, name, segmented)
            if alone:
                _finish(writing, results, books.callbacks)
    except Interrupted:
        books.stop()
        raise
    finally:
        # After a signal, too: what is being written is nearly whole.
        _finish(writing, results, books.callbacks)


_POLL_SECONDS: Final = 2.0
"""How often a process that has nothing left to do looks after the cases of others."""


def _rest(
    segmenter: Segmenter,
    books: Books,
    results: dict[str, CaseResult],
    reader: ThreadPoolExecutor,
    writer: ThreadPoolExecutor,
) -> None:
    """Wait for the cases that other processes have claimed, and take over those whose process died, one by one.

    Raises:
        Interrupted: if a signal asks to stop.
    """
    while left := [name for name in books.cases if name not in results]:
        for name in left:
            _in_turn(segmenter, books, results, reader, writer, names=[name])
        if len(left) == sum(name not in results for name in left):
            time.sleep(_POLL_SECONDS)


_Value = TypeVar("_Value")
_Next = TypeVar("_Next")


@dataclass(frozen=True, kw_only=True)
class _Outcome(Generic[_Value]):
    """What a case has come to so far: a value, or the reason why there is none; and the seconds of each stage."""

    image: Scan
    value: _Value | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    details: str = ""

    def then(self, stage: str, step: Callable[[_Value], _Next]) -> "_Outcome[_Next]":
        """The outcome of a further step, which is not taken if an earlier one failed."""
        if self.value is None:
            return _Outcome(image=self.image, stages=self.stages, reason=self.reason, details=self.details)
        started = time.perf_counter()
        value, reason, details = None, "", ""
        try:
            value = step(self.value)
        except FlareError as error:
            reason = str(error) if str(self.image) in str(error) else f"{self.image}: {error}"
        except Exception as error:  # noqa: BLE001 - the case boundary, the only one
            # Whatever one scan provokes, the others are still segmented.
            if ran_out_of_memory(error):
                reason = f"{self.image}: memory ran out ({error}); close other programs, or bound it with --ram-budget"
            else:
                reason = f"{self.image}: unexpected {type(error).__name__}: {error}"
                details = traceback.format_exc()
        stages = {**self.stages, stage: time.perf_counter() - started}
        return _Outcome(image=self.image, value=value, stages=stages, reason=reason, details=details)


_Read: TypeAlias = _Outcome[Prepared] | CaseResult
"""A prepared scan, or the result of a case with which nothing is left to do."""


def _read_ahead(
    segmenter: Segmenter, books: Books, reader: ThreadPoolExecutor, names: Sequence[str] | None
) -> Iterator[tuple[str, _Read, bool]]:
    """Prepared cases in order; while one is in use, the next is prepared, unless memory is bounded.

    Neither is done if an earlier run did not survive one of the two: then the first has to be alone, which is said, and
    to be written before the next begins, so that only the one that kills the program is left.
    """

    def read(name: str) -> _Read:
        def prepared(image: Scan) -> Prepared:
            volume = read_scan(image)
            refuse_label_map(image, volume.array_zyx)
            return with_scan_aside(segmenter.prepare(volume, keep=bool(books.forms.further)), books.outputs)

        scan = books.cases[name]
        return books.begin(name, last=last) or _Outcome[Scan](image=scan, value=scan).then("read", prepared)

    last = names is not None
    names = names or books.order()
    suspects = books.ledger.never_ended.keys()
    ahead: Future[_Read] | None = None
    for index, name in enumerate(names):
        current = (ahead or reader.submit(read, name)).result()
        following = names[index + 1 : index + 2]
        alone = bool(suspects & {name, *following})
        may_read = following and not alone and segmenter.budget.ram_bytes is None
        ahead = reader.submit(read, following[0]) if may_read else None
        yield name, current, alone


def _segmented(
    segmenter: Segmenter, read: _Read, callbacks: SegmentationCallbacks
) -> _Outcome[Segmentation] | CaseResult:
    if isinstance(read, CaseResult):
        return read

    def segmented(scan: Prepared) -> Segmentation:
        done = segmenter.segment_prepared(scan, callbacks)
        if scan.in_hounsfield:
            for line in side_doubts(done.labels, segmenter.spec.labels):
                callbacks.notice(line, False)
        return done

    return read.then("segment", segmented)


def _written(
    segmenter: Segmenter, books: Books, name: str, segmented: _Outcome[Segmentation] | CaseResult
) -> CaseResult:
    """Write the labels of a case, if there are some, and what else is wanted; sum up and record."""
    if isinstance(segmented, CaseResult):
        return segmented
    output = books.output(name)

    def write(segmentation: Segmentation) -> Segmentation:
        write_volume(output, segmentation.labels, lambda part: books.written(name, part))
        return segmentation

    def write_further(segmentation: Segmentation) -> tuple[str, ...]:
        if segmentation.scan is None:
            return ()
        return books.write_further(_case(segmenter, books, name, segmentation, segmentation.scan))

    outcome = segmented.then("write", write)
    # A step of its own: whatever goes wrong in it, the label map is there and stays.
    further = outcome.then("further", write_further)
    result = CaseResult(
        name=name,
        output=output,
        seconds=sum(further.stages.values()),
        stages=further.stages,
        reason=outcome.reason,
        details=outcome.details,
    )
    if (done := outcome.value) is None:
        return books.end(replace(result, output=None))
    lacking = (further.reason,) if further.value is None else further.value
    result = replace(result, lacking=lacking, details=further.details, plan=plan_in_words(done.plan, done.compute))
    return books.end(replace(result, windows_ran=done.windows_ran, windows=done.windows))


def _case(segmenter: Segmenter, books: Books, name: str, done: Segmentation, scan: Volume) -> SegmentedCase:
    """All that the outputs beside the label map are made of."""
    return SegmentedCase(
        name=name,
        scan=scan,
        labels=done.labels,
        names=segmenter.spec.labels,
        notices=books.notices(name),
        in_hounsfield=done.in_hounsfield,
        source=source if isinstance(source := books.cases[name], Series) else None,
        made_with=made_with(segmenter),
        confidence=done.confidence,
        spec=segmenter.spec,
        lesion_probabilities=done.lesion_probabilities,
    )


def _sum_up(books: Books, results: Mapping[str, CaseResult], callbacks: FolderCallbacks) -> None:
    """Write what sums up the folder; that it cannot be written is told, and stops nothing."""
    failed = {name: result.reason for name, result in results.items() if result.output is None}
    try:
        books.forms.folder(books.outputs, books.ledger.further(), failed)
    except (FlareError, OSError) as error:
        callbacks.trouble(f"{books.outputs}: what sums up the folder was not written: {error}")


def _finish(writing: Future[CaseResult] | None, results: dict[str, CaseResult], callbacks: FolderCallbacks) -> None:
    """Wait for the case that is being written, if there is one, and report its result once."""
    if writing is None:
        return
    result = writing.result()
    if result.name not in results and not result.elsewhere:
        results[result.name] = result
        callbacks.finished(result)
