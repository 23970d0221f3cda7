"""The command of `flare-infer` that writes a network for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer

from flare_infer.shell.command import errors_reported

app = typer.Typer()


@app.command("export-onnx")
def export_onnx(
    weights: Annotated[Path, typer.Argument(help="Folder of a model.")],
    file: Annotated[Path, typer.Argument(help="New file that ends in .onnx.")],
) -> None:
    """Write a model's network as ONNX: normalized windows to logits, without what is done around it.

    If onnxruntime or OpenVINO is installed, it runs the file, and its logits must be those of the network.
    """
    with errors_reported():
        from flare_infer.model.onnx_file import export_onnx as run_export
        from flare_infer.model.weights import find_weights

        made = run_export(find_weights(weights), file)
    typer.echo(f"{file}: windows (n, 1, z, y, x) to logits" + (f", mean of {made.folds} folds" * (made.folds > 1)))
    if made.runtime:
        what = f"{made.runtime}: random windows give the same logits within {made.difference:.1e}"
        typer.echo(f"{what}, the largest of them being {made.largest:.1f}")
    else:
        typer.echo("not checked: install onnxruntime or openvino to compare its logits", err=True)
    if made.mirror_axes:
        typer.echo("mirror images, which predict averages over, are not in the file")
