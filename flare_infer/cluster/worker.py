"""One worker: a model that stays loaded, and the cases that are given to it, several at a time."""

import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Final

from flare_infer.cluster.notes import Notes
from flare_infer.cluster.storage import RemoteFolder, as_path, files_below, put_changes
from flare_infer.cluster.task import Answer, Job, RemoteFile, Setting, Task
from flare_infer.runs.bookkeeping import Books
from flare_infer.runs.case_result import CaseResult, FolderCallbacks
from flare_infer.runs.case_steps import Outcome, read_case, segmented_case, written_case
from flare_infer.runs.identity import facts_of, recipe_of
from flare_infer.runs.scan import Scan, stamp_of
from flare_infer.shell.interrupt import Interrupted

DEPTH: Final = 3
"""Cases that a worker takes at once: one is read, one is segmented, one is written."""


class Worker:
    """A model on its device; `run` may be called from several threads, and the stages of their cases overlap.

    Reading, segmenting and writing have a thread each, as in a run on one machine.

    Args:
        job: what it does, and with which model.
    """

    def __init__(self, job: Job) -> None:
        self._segmenter = job.choice.ready(job.choice.model())
        self._forms = job.forms
        self._outputs = job.outputs
        self._again = job.again
        self._stopping = Event()
        self._hasher, self._reader, self._runner, self._writer = (
            ThreadPoolExecutor(1, name) for name in ("hasher", "reader", "runner", "writer")
        )

    def setting(self) -> Setting:
        """With what this worker works."""
        return Setting(recipe=recipe_of(self._segmenter), facts=facts_of(self._segmenter))

    def stop(self) -> None:
        """Give up what is being segmented; what is being written is finished."""
        self._stopping.set()

    def run(self, task: Task) -> Answer:
        """Do a case, unless nothing is left to do for it. Whatever goes wrong with it is in the answer."""
        notices: list[tuple[str, bool]] = []
        try:
            answer = self._at_hand(task, notices)
        except Interrupted:
            answer = Answer(result=_result(task, elsewhere=True), record=task.record)
        return replace(answer, notices=tuple(notices))

    def _at_hand(self, task: Task, notices: list[tuple[str, bool]]) -> Answer:
        """Do a case whose files are fetched first, if they lie in a store, and put there afterwards.

        The scratch folder holds this case only and goes with it: a worker never has more than `DEPTH` of them.
        """
        source, outputs = task.source, as_path(self._outputs)
        if outputs is not None and not isinstance(source, RemoteFile):
            return self._done(task, source, outputs, notices)
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flare-infer-")))
            begun = Outcome(image=str(source), value=task)
            fetched: Outcome[Scan] = begun.then("fetch", lambda task: _fetched(task, scratch))
            if fetched.value is None:
                return _failed(task, fetched)
            done = fetched.then("put", lambda scan: self._put_back(task, scan, scratch, notices))
            return _failed(task, done) if done.value is None else _named(done.value, task, scratch, self._outputs)

    def _put_back(self, task: Task, scan: Scan, scratch: Path, notices: list[tuple[str, bool]]) -> Answer:
        """Do a case whose scan is at hand; what is new of its outputs is put to the store."""
        if (outputs := as_path(self._outputs)) is not None:
            return self._done(task, scan, outputs, notices)
        remote, local, output = RemoteFolder(self._outputs), scratch / "outputs", f"{task.name}{self._forms.ending}"
        local.mkdir()
        for name in (output, *task.record.further):
            remote.fetch(name, local)
        there, before = remote.stamp(output), dict(files_below(local))
        answer = self._done(task, scan, local, notices)
        if answer.result.output is not None and remote.stamp(output) != there:
            # Another worker did the same case meanwhile: then nothing of this one is put.
            return replace(answer, result=replace(answer.result, elsewhere=True))
        put_changes(remote, local, before, output)
        return answer

    def _done(self, task: Task, scan: Scan, outputs: Path, notices: list[tuple[str, bool]]) -> Answer:
        """Do a case whose files are at hand."""
        name, notes = task.name, Notes(task.record, task.label_maps)
        callbacks = FolderCallbacks(
            windows=self._go_on, notice=lambda name, line, routine: notices.append((line, routine))
        )
        books = Books(
            ledger=notes,
            recipe=recipe_of(self._segmenter),
            device=self._segmenter.compute.device,
            cases={name: scan},
            outputs=outputs,
            callbacks=callbacks,
            hasher=self._hasher,
            again=self._again,
            forms=self._forms,
        )
        before = stamp_of(books.output(name))
        read = self._reader.submit(read_case, self._segmenter, books, name).result()
        segmented = self._runner.submit(segmented_case, self._segmenter, read, books.of_case(name)).result()
        if not isinstance(segmented, CaseResult) and stamp_of(books.output(name)) != before:
            # A second worker on the same case was faster, and wrote the same.
            return Answer(result=_result(task, elsewhere=True), record=task.record)
        result = self._writer.submit(written_case, self._segmenter, books, name, segmented).result()
        return Answer(result=result, record=notes.case)

    def _go_on(self, name: str, done: int, total: int) -> None:
        if self._stopping.is_set():
            raise Interrupted(signal.SIGTERM)


def _fetched(task: Task, scratch: Path) -> Scan:
    """The scan of a case, fetched if it lies in a store.

    Raises:
        OSError: if it cannot be fetched.
    """
    if not isinstance(task.source, RemoteFile):
        return task.source
    folder, _, name = task.source.url.rpartition("/")
    inputs = scratch / "inputs"
    inputs.mkdir()
    if not RemoteFolder(folder).fetch(name, inputs):
        raise FileNotFoundError(f"{task.source}: is not there any more")
    return inputs / name


def _failed(task: Task, outcome: Outcome[Scan] | Outcome[Answer]) -> Answer:
    """The answer on a case whose files could not be fetched or put."""
    result = replace(_result(task), reason=outcome.reason, details=outcome.details)
    return Answer(result=result, record=replace(task.record, status="failed", reason=outcome.reason))


def _named(answer: Answer, task: Task, scratch: Path, outputs: str) -> Answer:
    """An answer in whose lines files have their own names, not those of their copies."""
    of_copies = {str(scratch / "outputs"): outputs}
    if isinstance(task.source, RemoteFile):
        of_copies[str(scratch / "inputs" / task.source.url.rpartition("/")[2])] = task.source.url

    def named(line: str) -> str:
        for copy, name in of_copies.items():
            line = line.replace(copy, name)
        return line

    result, record = answer.result, answer.record
    lacking = tuple(map(named, result.lacking))
    output = result.output and Path(result.output.name) if as_path(outputs) is None else result.output
    result = replace(result, reason=named(result.reason), lacking=lacking, output=output)
    record = replace(record, reason=named(record.reason), notices=tuple(map(named, record.notices)))
    return replace(answer, result=result, record=record)


def _result(task: Task, *, elsewhere: bool = False) -> CaseResult:
    return CaseResult(name=task.name, output=None, seconds=0.0, elsewhere=elsewhere)
