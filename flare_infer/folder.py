"""Every case of a folder: one bad case never stops the others.

While one case is segmented, a thread reads and prepares the next and another writes the last: the network never waits
for a disk. There are no further processes and no shared memory.
"""

import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from flare_infer.errors import FlareError, UsageError
from flare_infer.segmenter import Prepared, Segmentation, Segmenter, Watch
from flare_infer.volume_io import case_name, image_files, read_volume, write_volume


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """What became of one case.

    Attributes:
        name: case name.
        output: the label map written; None if the case failed.
        seconds: reading, segmenting and writing, without waiting for other cases.
        windows_ran: windows that the network ran.
        windows: windows of the whole grid, those that needed not run included.
        reason: one line that says why it failed; empty if it did not.
        details: the traceback of an unexpected error, for whoever mends it; empty otherwise.
    """

    name: str
    output: Path | None
    seconds: float
    windows_ran: int = 0
    windows: int = 0
    reason: str = ""
    details: str = ""


def find_cases(inputs: Path) -> tuple[dict[str, Path], list[CaseResult]]:
    """The images to segment by case name: those of a folder, or a single file.

    Returns:
        the images, and the failures of cases that several files claim to be: none of those is segmented.

    Raises:
        UsageError: if there is no image.
    """
    if inputs.is_file():
        return {case_name(inputs): inputs}, []
    files: dict[str, list[Path]] = {}
    for path in image_files(inputs):
        files.setdefault(case_name(path), []).append(path)
    failures = [
        CaseResult(
            name=name,
            output=None,
            seconds=0.0,
            reason=f"{inputs}: {' and '.join(path.name for path in paths)} are one case, {name}; keep one of them",
        )
        for name, paths in files.items()
        if len(paths) > 1
    ]
    return {name: paths[0] for name, paths in files.items() if len(paths) == 1}, failures


def make_output_folder(outputs: Path, inputs: Path) -> None:
    """Make the folder for label maps; it must be neither the folder of the images nor inside it.

    A single image may have its label map in a folder beside it, but not in its own. That it can be written to is tried
    now, so that nobody learns after minutes of work that nothing could be kept.

    Raises:
        UsageError: if it cannot be made or written to, or inputs would be written to.
    """
    target = outputs.resolve()
    forbidden = [target] if inputs.is_file() else [target, *target.parents]
    if (inputs.parent if inputs.is_file() else inputs).resolve() in forbidden:
        raise UsageError(f"{outputs}: lies in the folder of the inputs, where nothing is ever written; choose another")
    try:
        outputs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{outputs}: cannot be made a folder ({error.strerror}); choose another one") from error
    try:
        # Where the system allows it this file never has a name. Asking for permissions would not do: a mount may be
        # read-only, a disk full.
        with tempfile.TemporaryFile(dir=outputs):
            pass
    except OSError as error:
        raise UsageError(
            f"{outputs}: cannot be written to ({error.strerror}); make it writable for this user, or choose another"
        ) from error


@dataclass(frozen=True, kw_only=True)
class FolderWatch:
    """Who is told what happens to the cases of a folder.

    Attributes:
        windows: called with (case, windows done or passed over, windows in all).
        notice: called with (case, a line about memory, whether it is routine).
        finished: called after each case.
    """

    windows: Callable[[str, int, int], None] = lambda name, done, total: None
    notice: Callable[[str, str, bool], None] = lambda name, line, routine: None
    finished: Callable[[CaseResult], None] = lambda result: None

    def of_case(self, name: str) -> Watch:
        """What the segmenter tells about one case."""
        return Watch(
            windows=lambda done, total: self.windows(name, done, total),
            notice=lambda line, routine: self.notice(name, line, routine),
        )


_UNWATCHED = FolderWatch()


def predict_cases(
    segmenter: Segmenter, cases: Mapping[str, Path], outputs: Path, watch: FolderWatch = _UNWATCHED
) -> list[CaseResult]:
    """Segment cases one after the other, each into `outputs/NAME.nii.gz`.

    Args:
        segmenter: the model.
        cases: image files by case name.
        outputs: an existing folder.
        watch: who is told what happens.

    Returns:
        one result for each case, in order.
    """
    results: list[CaseResult] = []
    with ThreadPoolExecutor(1, "reader") as reader, ThreadPoolExecutor(1, "writer") as writer:
        writing: Future[CaseResult] | None = None
        for name, read in _read_ahead(segmenter, cases, reader):
            segmented = _segmented(segmenter, read, watch.of_case(name))
            results += _finished(writing, watch)
            writing = writer.submit(_written, name, segmented, outputs / f"{name}.nii.gz")
        results += _finished(writing, watch)
    return results


_Value = TypeVar("_Value")
_Next = TypeVar("_Next")


@dataclass(frozen=True, kw_only=True)
class _Outcome(Generic[_Value]):
    """What a case has come to so far: a value, or the reason why there is none."""

    image: Path
    value: _Value | None = None
    seconds: float = 0.0
    reason: str = ""
    details: str = ""

    def then(self, step: Callable[[_Value], _Next]) -> "_Outcome[_Next]":
        """The outcome of a further step, which is not taken if an earlier one failed."""
        if self.value is None:
            return _Outcome(image=self.image, seconds=self.seconds, reason=self.reason, details=self.details)
        started = time.perf_counter()
        value, reason, details = None, "", ""
        try:
            value = step(self.value)
        except FlareError as error:
            reason = str(error) if str(self.image) in str(error) else f"{self.image}: {error}"
        except Exception as error:  # noqa: BLE001 - the case boundary, the only one
            # Whatever one scan provokes, the others are still segmented.
            reason = f"{self.image}: unexpected {type(error).__name__}: {error}"
            details = traceback.format_exc()
        seconds = self.seconds + time.perf_counter() - started
        return _Outcome(image=self.image, value=value, seconds=seconds, reason=reason, details=details)


def _read_ahead(
    segmenter: Segmenter, cases: Mapping[str, Path], reader: ThreadPoolExecutor
) -> Iterator[tuple[str, _Outcome[Prepared]]]:
    """Prepared cases in order; while one is in use, the next is prepared, unless memory is bounded."""

    def read(image: Path) -> _Outcome[Prepared]:
        return _Outcome(image=image, value=image).then(lambda path: segmenter.prepare(read_volume(path)))

    names = list(cases)
    ahead: Future[_Outcome[Prepared]] | None = None
    for index, name in enumerate(names):
        current = (ahead or reader.submit(read, cases[name])).result()
        following = names[index + 1 : index + 2]
        ahead = reader.submit(read, cases[following[0]]) if following and segmenter.budget.ram_bytes is None else None
        yield name, current


def _segmented(segmenter: Segmenter, read: _Outcome[Prepared], watch: Watch) -> _Outcome[Segmentation]:
    return read.then(lambda scan: segmenter.segment_prepared(scan, watch))


def _written(name: str, segmented: _Outcome[Segmentation], output: Path) -> CaseResult:
    """Write the labels of a case, if there are some, and sum up."""

    def write(segmentation: Segmentation) -> Segmentation:
        write_volume(output, segmentation.labels)
        return segmentation

    outcome = segmented.then(write)
    done = outcome.value
    return CaseResult(
        name=name,
        output=None if done is None else output,
        seconds=outcome.seconds,
        windows_ran=0 if done is None else done.windows_ran,
        windows=0 if done is None else done.windows,
        reason=outcome.reason,
        details=outcome.details,
    )


def _finished(writing: Future[CaseResult] | None, watch: FolderWatch) -> list[CaseResult]:
    """The result of the case that is being written, once it is; none if there is no such case."""
    if writing is None:
        return []
    result = writing.result()
    watch.finished(result)
    return [result]
