"""A run whose cases are done by a crew of workers: the ledger and the report of one machine."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from flare_infer.cluster.dispatch import Dispatch
from flare_infer.cluster.task import Crew, Setting, Source, source_name
from flare_infer.runs.case_result import CaseResult, FolderCallbacks, Tally
from flare_infer.runs.folder import sum_up
from flare_infer.runs.further import OutputForms
from flare_infer.runs.ledger import Ledger
from flare_infer.shell.interrupt import Interrupted


class KnownCrew(Crew, Protocol):
    """Workers that say with what they work."""

    def setting(self) -> Setting:
        """With what they work."""


def predict_with(
    crew: KnownCrew,
    cases: Mapping[str, Source],
    outputs: Path,
    callbacks: FolderCallbacks,
    *,
    forms: OutputForms,
    refused: Sequence[CaseResult] = (),
) -> Tally:
    """Have cases segmented by workers, and keep the report of `outputs`, as `predict_cases` does.

    Args:
        crew: the workers.
        cases: what is to be done, by name.
        outputs: an existing folder, on which no other run works, with the report of earlier runs.
        callbacks: callbacks for what happens.
        forms: in which forms results are written.
        refused: further cases that have failed already; they are reported and recorded.

    Returns:
        what became of them all.

    Raises:
        Interrupted: if a signal asks to stop; what was written until then is whole and in the report.
        UsageError: if no worker is left, and none can be had.
    """
    tally = Tally()
    with _ledger(crew, cases, outputs, callbacks, refused) as ledger:
        for result in refused:
            ledger.ended(replace(ledger.record(result.name), status="failed", reason=result.reason))
            tally.add(result)
            callbacks.finished(result)
        dispatch = Dispatch(crew, ledger, cases, callbacks, tally)
        try:
            dispatch.run()
        except Interrupted:
            dispatch.stop()
            raise
        finally:
            sum_up(outputs, forms, ledger, tally, callbacks)
    return tally


def _ledger(
    crew: KnownCrew,
    cases: Mapping[str, Source],
    outputs: Path,
    callbacks: FolderCallbacks,
    refused: Sequence[CaseResult],
) -> Ledger:
    """The records of all cases; of the scans it keeps the files' names alone."""
    images = {result.name: "" for result in refused} | {name: source_name(source) for name, source in cases.items()}
    return Ledger(outputs, crew.setting().facts, images, callbacks.trouble)
