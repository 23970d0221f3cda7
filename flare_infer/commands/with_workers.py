"""`flare-infer predict` with workers: those of a cluster, or one in this process for files in a store of objects."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from flare_infer.cluster.cases import remote_cases
from flare_infer.cluster.head import refuse_if_nobody_listens
from flare_infer.cluster.here import OneHere
from flare_infer.cluster.mirror import Mirror, refuse_scans_at
from flare_infer.cluster.progress import WorkersProgress
from flare_infer.cluster.ray_crew import RayCrew, Share
from flare_infer.cluster.run import KnownCrew, predict_with
from flare_infer.cluster.storage import RemoteFolder
from flare_infer.cluster.task import Job, Source, image_of
from flare_infer.cluster.worker import DEPTH, Worker
from flare_infer.commands.forms import output_forms
from flare_infer.commands.request import Company, Request, model_of, say_left_out, whence_and_where
from flare_infer.errors import UsageError
from flare_infer.model.weights import ENVIRONMENT_VARIABLE
from flare_infer.runs.case_files import find_cases
from flare_infer.runs.case_result import CaseResult, FolderCallbacks, Tally
from flare_infer.runs.claims import refuse_if_shared
from flare_infer.runs.further import OutputForms
from flare_infer.runs.output_folder import ENDING, make_output_folder, refuse_scans_among
from flare_infer.runs.outputs_lock import outputs_locked
from flare_infer.runs.ready import ModelChoice
from flare_infer.shell.command import say_error


def predict_with_workers(
    stack: ExitStack, request: Request, inputs: Path | None, outputs: Path | None
) -> tuple[Tally, str]:
    """Have the cases segmented by workers.

    Args:
        stack: what is left when the command ends.
        request: what was asked for.
        inputs: the path of the inputs; None if they lie in a store.
        outputs: the path of the outputs; None if they lie in a store.

    Raises:
        UsageError: if what was asked for is impossible.
        Interrupted: if a signal asks to stop.
    """
    company = request.company
    if company.share or company.part or company.estimate is not None:
        raise UsageError("--share, --part and --estimate go neither with --ray nor with URLs")
    if company.ray:
        refuse_if_nobody_listens(company.ray)  # before a folder is made
    if inputs is not None and inputs.suffix.lower() == ".zip":
        raise UsageError(f"{inputs}: would be unpacked on this machine only; unpack it where every worker can read it")
    if outputs is None:
        cases, failures = _cases(request, inputs)
        folder, place, ending = Path(stack.enter_context(tempfile.TemporaryDirectory())), request.outputs, ENDING
        mirror = stack.enter_context(Mirror(RemoteFolder(place), folder, say_error))
        refuse_scans_at(RemoteFolder(place), cases, folder)
    else:
        cases, failures, folder, ending = _to_folder(request, inputs, outputs.absolute())
        place, mirror = str(folder), None
        stack.enter_context(outputs_locked(folder, say_error))
        refuse_if_shared(folder)
    choice = for_all_machines(request.model)
    model = model_of(choice)
    forms = output_forms(request.forms, ending, model.spec.labels, map(image_of, cases.values()))
    crew = stack.enter_context(_crew(company, Job(choice=choice, forms=forms, outputs=place, again=request.again)))
    names = [*(failure.name for failure in failures), *cases]
    callbacks = stack.enter_context(WorkersProgress(names, **request.shown)).callbacks
    if mirror is not None:
        callbacks, forms = _with_mirror(mirror, callbacks, forms)
    return predict_with(crew, cases, folder, callbacks, forms=forms, refused=failures), place


def for_all_machines(choice: ModelChoice) -> ModelChoice:
    """The same model, named so that another machine finds it, where it lies in a folder that both see."""
    named = choice.weights or (Path(found) if (found := os.environ.get(ENVIRONMENT_VARIABLE)) else None)
    return replace(choice, weights=named.absolute() if named is not None and named.is_dir() else named)


def _cases(request: Request, inputs: Path | None) -> tuple[Mapping[str, Source], Sequence[CaseResult]]:
    """What is to be done, by name, and cases that have failed already."""
    if inputs is None:
        cases, failures, left_out = remote_cases(request.inputs)
        say_left_out(request.inputs, left_out)
        return cases, failures
    found = find_cases(inputs.absolute(), None, request.series)
    say_left_out(request.inputs, [path.name for path in found.left_out], found.notes)
    return found.cases, found.failures


def _to_folder(
    request: Request, inputs: Path | None, outputs: Path
) -> tuple[Mapping[str, Source], Sequence[CaseResult], Path, str]:
    """Cases, failures, the folder for label maps, made if need be, and the ending of their files."""
    if inputs is not None:
        return whence_and_where(inputs.absolute(), outputs, None, request.series)
    cases, failures = _cases(request, inputs)
    make_output_folder(outputs, Path(request.inputs))
    refuse_scans_among(outputs, cases)
    return cases, failures, outputs, ENDING


def _crew(company: Company, job: Job) -> AbstractContextManager[KnownCrew]:
    """The workers."""
    if company.ray:
        return RayCrew(company.ray, Share(cpus=company.cpus or 0, gpu=company.gpu), job, say_error)
    return OneHere(Worker(job), DEPTH if job.choice.ram_budget_mib is None else 1)


def _with_mirror(mirror: Mirror, callbacks: FolderCallbacks, forms: OutputForms) -> tuple[FolderCallbacks, OutputForms]:
    """Callbacks that put the report to the store now and then, and forms that are summed up from there."""

    def finished(result: CaseResult) -> None:
        callbacks.finished(result)
        mirror.put_now_and_then()

    return replace(callbacks, finished=finished), mirror.with_statistics(forms)
