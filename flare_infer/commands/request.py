"""What a user asks of `flare-infer predict`, and the model and the places that follow from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

from flare_infer.commands.forms import FormOptions
from flare_infer.dicom.find import Choice
from flare_infer.errors import one_line
from flare_infer.model.model_file import ModelFile
from flare_infer.runs.case_files import find_cases
from flare_infer.runs.case_result import CaseResult
from flare_infer.runs.output_folder import destination, make_output_folder, refuse_scans_among
from flare_infer.runs.ready import ModelChoice
from flare_infer.runs.scan import Scan

_NAMES_SHOWN: Final = 5


@dataclass(frozen=True, kw_only=True)
class Company:
    """Who else works on the cases.

    Attributes:
        share: whether other processes work on the same folders.
        part: which part of the cases is done; empty for all.
        estimate: number of processes for which the cost is estimated; None to do all cases.
        ray: address of a Ray cluster; empty for none.
        cpus: CPUs of each of its workers; None for an even share of a machine.
        gpu: part of a GPU of each of its workers; None for one if there are some.
    """

    share: bool = False
    part: str = ""
    estimate: int | None = None
    ray: str = ""
    cpus: int | None = None
    gpu: float | None = None


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        inputs: folder, file or URL.
        outputs: folder, file or URL.
        forms: in which forms results are written.
        series: which DICOM series become cases.
        model: which model, and how it runs.
        company: who else works on the cases.
        again: whether everything is done again.
        shown: whether plans of memory ("verbose") and tracebacks ("debug") are shown.
    """

    inputs: str
    outputs: str
    forms: FormOptions
    series: Choice
    model: ModelChoice
    company: Company
    again: bool
    shown: Mapping[str, bool]


def model_choice(
    weights: Path | None, compute: tuple[str, str, str], budget_mib: tuple[int | None, int | None], *how: bool
) -> ModelChoice:
    """Which model, and how it runs.

    Args:
        weights: folder or name of the model; None for the default.
        compute: device, precision and backend, as the user named them.
        budget_mib: bounds on GPU memory and on the memory of the process, in MiB; None for none.
        how: whether windows that need not run are skipped, and whether confidence is measured.
    """
    device, precision, backend = compute
    skipping, with_confidence = how
    return ModelChoice(
        weights=weights,
        device=device,
        precision=precision,
        backend=backend,
        gpu_budget_mib=budget_mib[0],
        ram_budget_mib=budget_mib[1],
        skipping=skipping,
        with_confidence=with_confidence,
    )


def model_of(choice: ModelChoice) -> ModelFile:
    """The model that was chosen; a line for the user if its weights cannot be checked."""
    model = choice.model()
    note = "model.json records no sha256, so the weights are not checked; `flare-infer info` says how to add it"
    if model.sha256 is None:
        typer.echo(f"{model.directory}: {note}", err=True)
    return model


def whence_and_where(
    inputs: Path, outputs: Path, scratch: Path | None, choice: Choice
) -> tuple[Mapping[str, Scan], Sequence[CaseResult], Path, str]:
    """Scans by case, cases that failed already, the folder for label maps, made if need be, and their ending."""
    found = find_cases(inputs, scratch, choice)
    folder, cases, ending = destination(outputs, inputs, found.cases)
    make_output_folder(folder, inputs)
    refuse_scans_among(folder, cases, ending)
    say_left_out(str(inputs), [path.name for path in found.left_out], found.notes)
    return cases, found.failures, folder, ending


def say_left_out(inputs: str, names: Sequence[str], notes: Sequence[str] = ()) -> None:
    """Lines on files of the inputs that are no cases: label maps by name, and whatever else there is to say."""
    if names:
        shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
        typer.echo(one_line(f"{inputs}: left out {len(names)} label map(s) beside their scans: {shown}"), err=True)
    for note in notes:
        typer.echo(one_line(note), err=True)
