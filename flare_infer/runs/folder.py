"""Every case of a folder: one bad case never stops the others.

While one case is segmented, a thread reads and prepares the next and another writes the last: the network never waits
for a disk. There are no further processes and no shared memory.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Final

from flare_infer.errors import FlareError
from flare_infer.runs.bookkeeping import Books
from flare_infer.runs.case_result import CaseResult, FolderCallbacks, Tally
from flare_infer.runs.case_steps import Read, read_case, segmented_case, written_case
from flare_infer.runs.further import LABEL_MAPS, OutputForms
from flare_infer.runs.identity import facts_of, recipe_of
from flare_infer.runs.ledger import Ledger
from flare_infer.runs.scan import Scan, file_name
from flare_infer.segment.segmenter import Segmenter
from flare_infer.shell.interrupt import Interrupted

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
    images = {**{result.name: "" for result in refused}, **{name: file_name(scan) for name, scan in cases.items()}}
    with (
        forms.claims or nullcontext() as claims,
        Ledger(outputs, facts_of(segmenter), images, callbacks.trouble, claims) as ledger,
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
            sum_up(outputs, forms, ledger, Tally.of(results.values()), callbacks)
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
            segmented = segmented_case(segmenter, read, books.of_case(name))
            _finish(writing, results, books.callbacks)
            writing = writer.submit(written_case, segmenter, books, name, segmented)
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


def _read_ahead(
    segmenter: Segmenter, books: Books, reader: ThreadPoolExecutor, names: Sequence[str] | None
) -> Iterator[tuple[str, Read, bool]]:
    """Prepared cases in order; while one is in use, the next is prepared, unless memory is bounded.

    Neither is done if an earlier run did not survive one of the two: then the first has to be alone, which is said, and
    to be written before the next begins, so that only the one that kills the program is left.
    """

    def read(name: str) -> Read:
        return read_case(segmenter, books, name, last=last)

    last = names is not None
    names = names or books.order()
    suspects = books.ledger.never_ended.keys()
    ahead: Future[Read] | None = None
    for index, name in enumerate(names):
        current = (ahead or reader.submit(read, name)).result()
        following = names[index + 1 : index + 2]
        alone = bool(suspects & {name, *following})
        may_read = following and not alone and segmenter.budget.ram_bytes is None
        ahead = reader.submit(read, following[0]) if may_read else None
        yield name, current, alone


def sum_up(outputs: Path, forms: OutputForms, ledger: Ledger, tally: Tally, callbacks: FolderCallbacks) -> None:
    """Write what sums up the folder; that it cannot be written is told, and stops nothing.

    Args:
        outputs: the folder.
        forms: in which forms results are written.
        ledger: the records of all cases.
        tally: what became of the cases of this run so far.
        callbacks: callbacks for what happens.
    """
    try:
        forms.folder(outputs, ledger.further(), tally.failed)
    except (FlareError, OSError) as error:
        callbacks.trouble(f"{outputs}: what sums up the folder was not written: {error}")


def _finish(writing: Future[CaseResult] | None, results: dict[str, CaseResult], callbacks: FolderCallbacks) -> None:
    """Wait for the case that is being written, if there is one, and report its result once."""
    if writing is None:
        return
    result = writing.result()
    if result.name not in results and not result.elsewhere:
        results[result.name] = result
        callbacks.finished(result)
