"""One case: read, segmented, written, and the boundary that keeps its errors from the other cases."""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeAlias, TypeVar

from flare_infer.dicom.series import Series
from flare_infer.errors import FlareError, ran_out_of_memory
from flare_infer.formats.volume_io import write_volume
from flare_infer.results.case import SegmentedCase
from flare_infer.runs.bookkeeping import Books
from flare_infer.runs.case_result import CaseResult
from flare_infer.runs.identity import made_with
from flare_infer.runs.scan import Scan, read_scan, with_scan_aside
from flare_infer.segment.memory_plan import plan_in_words
from flare_infer.segment.segmenter import Prepared, Segmentation, SegmentationCallbacks, Segmenter
from flare_infer.volume.label_values import refuse_label_map
from flare_infer.volume.sides import side_doubts
from flare_infer.volume.volume import Volume

_Value = TypeVar("_Value")
_Next = TypeVar("_Next")


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[_Value]):
    """What a case has come to so far: a value, or the reason why there is none; and the seconds of each stage."""

    image: Scan | str
    value: _Value | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    details: str = ""

    def then(self, stage: str, step: Callable[[_Value], _Next]) -> "Outcome[_Next]":
        """The outcome of a further step, which is not taken if an earlier one failed."""
        if self.value is None:
            return Outcome(image=self.image, stages=self.stages, reason=self.reason, details=self.details)
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
        return Outcome(image=self.image, value=value, stages=stages, reason=reason, details=details)


Read: TypeAlias = Outcome[Prepared] | CaseResult
"""A prepared scan, or the result of a case with which nothing is left to do."""


def read_case(segmenter: Segmenter, books: Books, name: str, *, last: bool = False) -> Read:
    """Open the record of a case, then read and prepare its scan, unless nothing is left to do with it.

    Args:
        segmenter: the model.
        books: the books of the run.
        name: name of the case.
        last: whether all other cases are done (`Books.begin`).
    """

    def prepared(image: Scan) -> Prepared:
        volume = read_scan(image)
        refuse_label_map(image, volume.array_zyx)
        return with_scan_aside(segmenter.prepare(volume, keep=bool(books.forms.further)), books.outputs)

    scan = books.cases[name]
    return books.begin(name, last=last) or Outcome[Scan](image=scan, value=scan).then("read", prepared)


def segmented_case(
    segmenter: Segmenter, read: Read, callbacks: SegmentationCallbacks
) -> Outcome[Segmentation] | CaseResult:
    """Segment a prepared case, if it could be prepared."""
    if isinstance(read, CaseResult):
        return read

    def segmented(scan: Prepared) -> Segmentation:
        done = segmenter.segment_prepared(scan, callbacks)
        if scan.in_hounsfield:
            for line in side_doubts(done.labels, segmenter.spec.labels):
                callbacks.notice(line, False)
        return done

    return read.then("segment", segmented)


def written_case(
    segmenter: Segmenter, books: Books, name: str, segmented: Outcome[Segmentation] | CaseResult
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
