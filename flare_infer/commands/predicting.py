"""What `flare-infer predict` does with what was asked: in this process, or with workers."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import typer

from flare_infer.cluster.estimate import estimated, sample_of
from flare_infer.cluster.parts import number_and_count, part_of
from flare_infer.cluster.storage import as_path
from flare_infer.commands.forms import output_forms
from flare_infer.commands.request import Company, Request, model_of, whence_and_where
from flare_infer.commands.with_workers import predict_with_workers
from flare_infer.dicom.unzip import scratch_for
from flare_infer.errors import UsageError
from flare_infer.runs.case_result import Tally
from flare_infer.runs.claims import Claims, refuse_if_shared
from flare_infer.runs.folder import predict_cases
from flare_infer.runs.output_folder import no_empty_folder_left
from flare_infer.runs.outputs_lock import outputs_locked
from flare_infer.runs.progress import SegmentationProgress
from flare_infer.runs.scan import Scan
from flare_infer.shell.command import say_error


def predict_all(stack: ExitStack, request: Request) -> tuple[Tally, str]:
    """Segment the cases.

    Args:
        stack: what is left when the command ends.
        request: what was asked for.

    Returns:
        what became of them, and the place of the label maps.

    Raises:
        UsageError: if what was asked for is impossible.
        Interrupted: if a signal asks to stop.
    """
    _refuse_what_does_not_go_together(request.company, again=request.again)
    inputs, outputs = as_path(request.inputs), as_path(request.outputs)
    if outputs is not None:
        stack.enter_context(no_empty_folder_left(outputs))
    if inputs is None or outputs is None or request.company.ray:
        return predict_with_workers(stack, request, inputs, outputs)
    return _here(stack, request, inputs, outputs)


def _refuse_what_does_not_go_together(company: Company, *, again: bool) -> None:
    """Before anything is looked at or made.

    Raises:
        UsageError: if options do not go together.
    """
    if company.share and again:
        raise UsageError("--again with --share: every process would do every case; choose other outputs instead")
    if not company.ray and (company.cpus is not None or company.gpu is not None):
        raise UsageError("--worker-cpus and --gpu-fraction are of the workers of a Ray cluster: add --ray")


def _here(stack: ExitStack, request: Request, inputs: Path, outputs: Path) -> tuple[Tally, str]:
    """Segment the cases in this process; others may do some of them."""
    company = request.company
    scratch = stack.enter_context(scratch_for(inputs))
    if company.part:
        number_and_count(company.part)  # a wrong one is refused before a folder is made
    found, failures, folder, ending = whence_and_where(inputs, outputs, scratch, request.series)
    every, claims = _alone_or_shared(stack, found, folder, company.part, share=company.share)
    cases = every if company.estimate is None else sample_of(every, folder)
    model = model_of(request.model)
    forms = replace(output_forms(request.forms, ending, model.spec.labels, found.values()), claims=claims)
    segmenter = request.model.ready(model)
    names = [*(failure.name for failure in failures), *cases]
    callbacks = stack.enter_context(SegmentationProgress(names, **request.shown)).callbacks
    results = predict_cases(segmenter, cases, folder, callbacks, again=request.again, refused=failures, forms=forms)
    if company.estimate is not None:
        typer.echo(estimated(every, results, folder, company.estimate))
    return Tally.of(results), str(folder)


def _alone_or_shared(
    stack: ExitStack, cases: Mapping[str, Scan], outputs: Path, part: str, *, share: bool
) -> tuple[Mapping[str, Scan], Claims | None]:
    """Keep other runs off the outputs, or share the work with them: the cases of this process, and its claims.

    Args:
        stack: what is left when the command ends.
        cases: all cases.
        outputs: the folder of label maps.
        part: which part of the cases is done; empty for all.
        share: whether other processes work on the same cases.

    Raises:
        UsageError: if others work there in the other way.
    """
    mine = part_of(cases, part) if part else cases
    shared = share or bool(part)
    stack.enter_context(outputs_locked(outputs, say_error, shared=shared))
    if not shared:
        refuse_if_shared(outputs)
    return mine, Claims(outputs) if shared else None
