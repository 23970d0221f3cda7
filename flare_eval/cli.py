"""The command `flare-eval`."""

from pathlib import Path
from typing import Annotated

import typer

from flare_infer.command_line import SOME_FAILED, errors_reported, new_app

app = new_app("Score label maps against references, by the rules of the FLARE 2023 challenge.")


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted label maps, matched by case name.")],
    references: Annotated[Path, typer.Argument(help="Folder of references: CASE.nii.gz or CASE_labels.nii.gz.")],
    annotated: Annotated[
        Path | None,
        typer.Option(help="File of the annotated classes of each case [default: REFERENCES/annotated.json, if any]."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the model: classes it never learned are left out and named.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write scores.csv and summary.md into.")] = None,
) -> None:
    """Score a folder; only the classes that a case annotates count, and a missing prediction counts as zeros.

    Exit code: 0 when every case was scored, 1 when some failed or had no prediction, 2 when nothing could be done.
    """
    from rich.console import Console
    from rich.progress import track

    from flare_eval.report import write_report
    from flare_eval.scoring import score_folder
    from flare_eval.tables import notes, to_table
    from flare_infer.spec import read_spec

    progress = Console(stderr=True)
    with errors_reported():
        scores = score_folder(
            predictions,
            references,
            annotated=annotated,
            untrained=() if weights is None else read_spec(weights).untrained,
            watch=lambda pairs: track(
                pairs, "scoring", console=progress, transient=True, disable=not progress.is_terminal
            ),
        )
        Console().print(to_table(scores))
        for line in notes(scores):
            typer.echo(line)
        if out is not None:
            write_report(out, scores)
    if not scores.complete:
        raise typer.Exit(SOME_FAILED)


def main() -> None:
    """Run the command line."""
    app()
