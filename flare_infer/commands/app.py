"""The command `flare-infer`."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from flare_infer.commands import options
from flare_infer.commands.convert import app as convert_app
from flare_infer.commands.further import add_further_commands
from flare_infer.shell.command import SOME_FAILED, errors_reported, new_app, run, say_error
from flare_infer.shell.interrupt import interruptible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flare_infer.dicom.find import Choice
    from flare_infer.model.model_file import ModelFile
    from flare_infer.model.spec import Orientation
    from flare_infer.runs.case_result import CaseResult
    from flare_infer.runs.claims import Claims
    from flare_infer.runs.scan import Scan
    from flare_infer.segment.segmenter import Segmenter

_NAMES_SHOWN: Final = 5

app = new_app("Segment 13 abdominal organs and tumors in CT.")
app.add_typer(convert_app)


@app.command()
def predict(  # noqa: PLR0913, PLR0917 - a command has as many options as it needs
    inputs: options.Inputs,
    outputs: options.Outputs,
    weights: options.Weights = None,
    to: options.To = "nifti",
    labelmap: options.Labelmap = False,
    organs: options.Organs = "",
    statistics: options.Statistics = False,
    preview: options.Preview = False,
    report: options.Report = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    backend: options.Backend = "auto",
    gpu_budget: options.GpuBudget = None,
    ram_budget: options.RamBudget = None,
    series: options.SeriesChoice = "all",
    fill_gaps: options.FillGaps = False,
    keep_identity: options.KeepIdentity = False,
    again: options.Again = False,
    share: options.Share = False,
    part: options.Part = "",
    estimate: options.Estimate = None,
    skip: options.Skip = True,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Write a label map for every CT of a folder; what an earlier run did is left alone.

    Exit code: 0 if all label maps are there, 1 if some cases failed, 2 if nothing could be done, 130 or 143 if stopped.
    """
    with errors_reported(), interruptible(), ExitStack() as stack:
        from flare_infer.backends.allocator import keep_freed_blocks

        keep_freed_blocks()  # before torch is imported

        from flare_infer.commands.forms import FormOptions, output_forms
        from flare_infer.dicom.find import Choice
        from flare_infer.dicom.unzip import scratch_for
        from flare_infer.runs.estimate import estimated, sample_of
        from flare_infer.runs.folder import predict_cases

        asked = FormOptions.of(to, organs, labelmap=labelmap, statistics=statistics, preview=preview, report=report)
        choice = Choice(series=series, fill_gaps=fill_gaps, keep_identity=keep_identity)
        scratch = stack.enter_context(scratch_for(inputs))
        found, failures, outputs, ending = _whence_and_where(inputs, outputs, scratch, choice)
        every, claims = _alone_or_shared(stack, found, outputs, part, share=share, again=again)
        cases = every if estimate is None else sample_of(every, outputs)

        from flare_infer.runs.progress import SegmentationProgress

        model = _model(weights)
        forms = replace(output_forms(asked, ending, model.spec.labels, found.values()), claims=claims)
        segmenter = _segmenter(model, (device, precision, backend), (gpu_budget, ram_budget), skipping=skip)
        segmenter = replace(segmenter, with_confidence=asked.measures)
        names = [*(failure.name for failure in failures), *cases]
        callbacks = stack.enter_context(SegmentationProgress(names, verbose=verbose, debug=debug)).callbacks
        results = predict_cases(segmenter, cases, outputs, callbacks, again=again, refused=failures, forms=forms)
        if estimate is not None:
            typer.echo(estimated(every, results, outputs, estimate))
    _end(results, outputs)


@app.command("series")
def list_series(
    inputs: Annotated[Path, typer.Argument(help="Folder of DICOM files of any depth, one file of a series, or a zip.")],
    fill_gaps: Annotated[bool, typer.Option("--fill-gaps", help="Take a series that lacks one slice.")] = False,
    folders: Annotated[bool, typer.Option("--folders", help="Say where its files lie; a patient's name may.")] = False,
) -> None:
    """List the DICOM series that are there, and why one cannot be segmented; no dates, no patient's data."""
    with errors_reported(), interruptible(), ExitStack() as stack:
        from flare_infer.dicom.find import dicom_files, find_series
        from flare_infer.dicom.listing import series_table
        from flare_infer.dicom.unzip import scratch_for
        from flare_infer.errors import UsageError

        if not inputs.exists():
            raise UsageError(f"{inputs}: there is no such file or folder")
        if not (files := dicom_files(inputs, stack.enter_context(scratch_for(inputs)))):
            raise UsageError(f"{inputs}: no DICOM file found; name a folder that holds some, one of them, or a zip")
        found, note = find_series(inputs, files, fill_gaps=fill_gaps)
        where = inputs if folders and inputs.is_dir() else None
        lines = [*series_table(found, where), *([note] if note else [])]
    for line in lines:
        typer.echo(line)


@app.command()
def info(
    weights: Annotated[
        Path | None, typer.Argument(help="Folder or name of a model (default: the one predict takes).")
    ] = None,
) -> None:
    """Say what a model is, what it may be used for and was trained on, and which classes it never learned."""
    from rich.console import Console

    with errors_reported():
        from flare_infer.model.facts import class_table, model_facts
        from flare_infer.model.model_file import read_model_file
        from flare_infer.model.weights import find_weights

        model = read_model_file(find_weights(weights, source="the argument WEIGHTS"))
        facts = model_facts(model)
    console = Console()
    console.print(model.spec.name, style="bold", markup=False, highlight=False)
    for name, value in facts.items():
        console.print(f"{name:18} {value}", markup=False, highlight=False, soft_wrap=True)
    console.print(class_table(model.spec))


@app.command()
def import_nnunet(  # noqa: PLR0913, PLR0917 - a command has as many options as it needs
    results: Annotated[Path, typer.Argument(help="Folder of a trained model of nnU-Net, or of its data set.")],
    weights: Annotated[Path, typer.Argument(help="New folder for the model, such as weights/NAME.")],
    configuration: Annotated[str | None, typer.Option(help="Such as 3d_fullres; needed if there are several.")] = None,
    fold: Annotated[
        list[str] | None, typer.Option(help="A fold's number or `all`; repeat it to average several (default: one).")
    ] = None,
    mirroring: Annotated[bool, typer.Option(help="Average over mirror images if the model allows it.")] = True,
    window_step: Annotated[float, typer.Option(help="Distance of windows as a fraction of the patch.")] = 0.5,
    orientation: Annotated[
        str | None, typer.Option(help="LPS, RAS or as_stored: how scans are turned first (default: as the plan says).")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store half precision: half the size, not bit for bit.")] = False,
) -> None:
    """Make a weights folder of a model that nnU-Net trained; no code in its files is ever run."""
    with errors_reported():
        import torch

        from flare_infer.nnunet.importing import LATEST, ImportOptions
        from flare_infer.nnunet.importing import import_nnunet as run_import

        options = ImportOptions(
            configuration=configuration,
            folds=tuple(name.strip() for value in fold or () for name in value.split(",")),
            mirroring=mirroring,
            window_step=window_step,
            orientation=cast("Orientation | None", orientation),  # the specification checks it
            precision=torch.float16 if half else torch.float32,
        )
        made = run_import(results, weights, options)
    typer.echo(f"{weights}: {made.spec.classes - 1} classes, fold {', '.join(made.folds)}, {made.checkpoint}")
    if made.checkpoint == LATEST:
        typer.echo(f"{LATEST} is all there is: its training has not ended, import again when it has", err=True)
    if made.left:
        typer.echo(f"not taken: fold {', '.join(made.left)}; repeat --fold to average several")
    if made.spec.mirror_axes:
        typer.echo(f"mirrored: {2 ** len(made.spec.mirror_axes)} passes a window; --no-mirroring makes it one")


@app.command()
def export_nnunet(
    weights: Annotated[Path, typer.Argument(help="Folder of a model.")],
    results: Annotated[Path, typer.Argument(help="New folder that nnU-Net's predictor loads.")],
) -> None:
    """Write a model as nnU-Net's own predictor loads it.

    nnU-Net does not turn scans: a model that works in LPS must be given scans that are stored in LPS there.
    """
    with errors_reported():
        from flare_infer.nnunet.exporting import export_nnunet as run_export

        made = run_export(weights, results)
    typer.echo(made.how_to_predict())


def _whence_and_where(
    inputs: Path, outputs: Path, scratch: Path | None, choice: "Choice"
) -> tuple["Mapping[str, Scan]", "Sequence[CaseResult]", Path, str]:
    """Scans by case, cases that failed already, the folder for label maps, made if need be, and their ending."""
    from flare_infer.errors import one_line
    from flare_infer.runs.case_files import find_cases
    from flare_infer.runs.output_folder import destination, make_output_folder, refuse_scans_among

    found = find_cases(inputs, scratch, choice)
    folder, cases, ending = destination(outputs, inputs, found.cases)
    make_output_folder(folder, inputs)
    refuse_scans_among(folder, cases, ending)
    if files := found.left_out:
        names = ", ".join(path.name for path in files[:_NAMES_SHOWN]) + (", ..." if len(files) > _NAMES_SHOWN else "")
        typer.echo(one_line(f"{inputs}: left out {len(files)} label map(s) beside their scans: {names}"), err=True)
    for note in found.notes:
        typer.echo(one_line(note), err=True)
    return cases, found.failures, folder, ending


def _alone_or_shared(
    stack: ExitStack, cases: "Mapping[str, Scan]", outputs: Path, part: str, *, share: bool, again: bool
) -> tuple["Mapping[str, Scan]", "Claims | None"]:
    """Keep other runs off the outputs, or share the work with them: the cases of this process, and its claims.

    Args:
        stack: what is left when the command ends.
        cases: all cases.
        outputs: the folder of label maps.
        part: which part of the cases is done; empty for all.
        share: whether other processes work on the same cases.
        again: whether everything is done again.

    Raises:
        UsageError: if others work there in the other way, or would do everything again each for itself.
    """
    from flare_infer.errors import UsageError
    from flare_infer.runs.claims import Claims, refuse_if_shared
    from flare_infer.runs.outputs_lock import outputs_locked
    from flare_infer.runs.parts import part_of

    if share and again:
        raise UsageError("--again with --share: every process would do every case; choose other outputs instead")
    mine = part_of(cases, part) if part else cases
    shared = share or bool(part)
    stack.enter_context(outputs_locked(outputs, say_error, shared=shared))
    if not shared:
        refuse_if_shared(outputs)
    return mine, Claims(outputs) if shared else None


def _segmenter(
    model: "ModelFile",
    compute: tuple[str, str, str],
    budget_mib: tuple[int | None, int | None],
    *,
    skipping: bool,
) -> "Segmenter":
    """The model, ready to run.

    Args:
        model: the model.
        compute: device, precision and backend, as the user named them.
        budget_mib: bounds on GPU memory and on the memory of the process, in MiB; None for none.
        skipping: whether windows that need not run are skipped.
    """
    from flare_infer.backends.cores import use_cores_of_job
    from flare_infer.backends.device import choose_compute
    from flare_infer.segment.budget import budget_of_mib
    from flare_infer.segment.segmenter import Segmenter

    chosen = choose_compute(*compute, window_work=model.spec.window_work)
    use_cores_of_job()
    return Segmenter.of_model(model, chosen, budget=budget_of_mib(*budget_mib), skipping=skipping)


def _model(weights: Path | None) -> "ModelFile":
    """The model that a folder holds; a line for the user if its weights cannot be checked."""
    from flare_infer.model.model_file import read_model_file
    from flare_infer.model.weights import find_weights

    model = read_model_file(find_weights(weights))
    note = "model.json records no sha256, so the weights are not checked; `flare-infer info` says how to add it"
    if model.sha256 is None:
        typer.echo(f"{model.directory}: {note}", err=True)
    return model


def _end(results: "Sequence[CaseResult]", outputs: Path) -> None:
    """Say how many cases failed, and end with that exit code, if one did."""
    lacking = sum(bool(result.lacking) for result in results)
    if failed := sum(result.output is None for result in results):
        others = "no label map was written" if failed == len(results) else f"the others are in {outputs}"
        say_error(f"{failed} of {len(results)} cases failed, {others}")
    if lacking:
        say_error(f"{lacking} of {len(results)} cases lack what was to be written beside their label map")
    if failed or lacking:
        raise typer.Exit(SOME_FAILED)


def main() -> None:
    """Run the command line."""
    add_further_commands(app)
    run(app)
