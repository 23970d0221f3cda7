"""`flare-infer predict`: a label map for every CT of a folder."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

import typer

from flare_infer.commands import options
from flare_infer.shell.command import SOME_FAILED, errors_reported, say_error
from flare_infer.shell.interrupt import interruptible

if TYPE_CHECKING:
    from flare_infer.runs.case_result import Tally

app = typer.Typer()


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
    ray: options.Ray = "",
    worker_cpus: options.WorkerCpus = None,
    gpu_fraction: options.GpuFraction = None,
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

        from flare_infer.commands.forms import FormOptions
        from flare_infer.commands.predicting import predict_all
        from flare_infer.commands.request import Company, Request, model_choice
        from flare_infer.dicom.find import Choice

        asked = FormOptions.of(to, organs, labelmap=labelmap, statistics=statistics, preview=preview, report=report)
        choice = Choice(series=series, fill_gaps=fill_gaps, keep_identity=keep_identity)
        model = model_choice(weights, (device, precision, backend), (gpu_budget, ram_budget), skip, asked.measures)
        company = Company(share=share, part=part, estimate=estimate, ray=ray, cpus=worker_cpus, gpu=gpu_fraction)
        shown = {"verbose": verbose, "debug": debug}
        request = Request(inputs, outputs, asked, choice, model, company, again, shown)
        tally, place = predict_all(stack, request)
    _end(tally, place)


def _end(tally: "Tally", outputs: str) -> None:
    """Say how many cases failed, and end with that exit code, if one did."""
    failed, lacking, count = len(tally.failed), tally.lacking, len(tally.ended)
    if failed:
        others = "no label map was written" if failed == count else f"the others are in {outputs}"
        say_error(f"{failed} of {count} cases failed, {others}")
    if lacking:
        say_error(f"{lacking} of {count} cases lack what was to be written beside their label map")
    if failed or lacking:
        raise typer.Exit(SOME_FAILED)
