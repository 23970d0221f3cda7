"""The command `flare-infer`."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from flare_infer.commands.convert import app as convert_app
from flare_infer.commands.further import add_further_commands
from flare_infer.commands.predict import app as predict_app
from flare_infer.shell.command import errors_reported, new_app, run
from flare_infer.shell.interrupt import interruptible

if TYPE_CHECKING:
    from flare_infer.model.spec import Orientation

app = new_app("Segment 13 abdominal organs and tumors in CT.")
app.registered_commands.extend(predict_app.registered_commands)
app.add_typer(convert_app)


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
        lines = series_table(found, inputs if folders and inputs.is_dir() else None)
    typer.echo("\n".join([*lines, *([note] if note else [])]))


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


def main() -> None:
    """Run the command line."""
    add_further_commands(app)
    run(app)
