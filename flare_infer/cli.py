"""The command `flare-infer`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flare_infer.command_line import SOME_FAILED, errors_reported, new_app, say_error

if TYPE_CHECKING:
    from rich.table import Table

    from flare_infer.spec import ModelSpec

app = new_app("Segment 13 abdominal organs and tumors in CT.")


@app.command()
def predict(
    inputs: Annotated[Path, typer.Argument(help="Folder of CTs (NIfTI, MHA, NRRD), or one file.")],
    outputs: Annotated[Path, typer.Argument(help="Folder for label maps: X_0000.nii.gz becomes X.nii.gz.")],
    weights: Annotated[
        Path | None, typer.Option(help="Folder of a model (default: FLARE_WEIGHTS, else the weights that came along).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    debug: Annotated[bool, typer.Option(help="Show the traceback of an unexpected error.")] = False,
) -> None:
    """Write a label map for every CT of a folder.

    Exit code: 0 if all were written, 1 if some failed, 2 if nothing could be done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with errors_reported():
        from flare_infer.allocator import prepare_allocator

        prepare_allocator()  # before torch is imported

        from flare_infer.folder import CaseResult, find_cases, make_output_folder, predict_cases

        cases = find_cases(inputs)
        make_output_folder(outputs, inputs)

        from flare_infer.device import choose_device
        from flare_infer.segmenter import Segmenter
        from flare_infer.weights import find_weights

        segmenter = Segmenter.load(find_weights(weights), choose_device(device))
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:g}/{task.total:g} cases"))
        with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("segmenting", total=len(cases))
            order = list(cases)

            def windows(name: str, done: int, total: int) -> None:
                bar.update(task, description=name, completed=round(order.index(name) + done / total, 2))

            def finished(result: CaseResult) -> None:
                bar.update(task, completed=order.index(result.name) + 1)
                if result.output is not None:
                    typer.echo(f"{result.output}: written in {result.seconds:.1f} s")
                    return
                say_error(result.reason)
                if debug and result.details:
                    typer.echo(result.details, err=True)

            results = predict_cases(segmenter, cases, outputs, windows, finished)
    failed = sum(result.output is None for result in results)
    if failed:
        say_error(f"{failed} of {len(results)} cases failed, the others are in {outputs}")
        raise typer.Exit(SOME_FAILED)


@app.command()
def info(
    weights: Annotated[Path | None, typer.Argument(help="Folder of a model (default: the one predict takes).")] = None,
) -> None:
    """Say what a model is, what it was trained on, and which classes it never learned."""
    from rich.console import Console

    with errors_reported():
        from flare_infer.spec import read_spec
        from flare_infer.weights import count_parameters, find_weights

        directory = find_weights(weights)
        spec = read_spec(directory)
        rows = {
            "folder": str(directory),
            "parameters": f"{count_parameters(directory) / 1e6:.2f} million",
            "spacing (z, y, x)": " x ".join(f"{value:g}" for value in spec.spacing_mm) + " mm",
            "patch (z, y, x)": " x ".join(str(value) for value in spec.patch),
            "features": ", ".join(str(value) for value in spec.network.features),
            "untrained": ", ".join(spec.labels[code] for code in spec.untrained) or "none",
        }
    console = Console()
    console.print(f"[bold]{spec.name}[/bold]")
    for name, value in rows.items():
        console.print(f"{name:18} {value}", highlight=False, soft_wrap=True)
    console.print(_class_table(spec))


def _class_table(spec: "ModelSpec") -> "Table":
    from rich.table import Table

    table = Table("code", "class", "training cases that annotate it")
    annotated_cases = spec.training.get("annotated_cases", {})
    for code, name in list(enumerate(spec.labels))[1:]:
        known = str(annotated_cases.get(str(code), "not stated"))
        table.add_row(str(code), name, "untrained: never predicted" if code in spec.untrained else known)
    return table


def main() -> None:
    """Run the command line."""
    app()
