"""The command of `flare-train` that makes one dataset of several."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from train.commands.output import problems_reported, progress_shown

app = typer.Typer()


@app.command()
def join(
    datasets: Annotated[list[Path], typer.Argument(help="Datasets in nnU-Net's raw layout, then the new folder.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="labels.toml of the classes of all (default: those of the datasets, without lesions)."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Make one dataset of several that annotate different classes; each case keeps to the classes of its own."""
    with problems_reported():
        from flare_infer.errors import UsageError
        from flare_infer.files.label_set_file import LABELS_FILE, read_label_set
        from train.dataset.join import join_datasets

        if len(datasets) < 2:
            raise UsageError("name the datasets first, then the folder of the new one")
        *folders, target = datasets
        with progress_shown("joining", None) as step:
            annotated = join_datasets(folders, target, labels, workers, step)
        label_set = read_label_set(target / LABELS_FILE)
    typer.echo(f"{target}: {len(annotated)} cases of {len(folders)} datasets, {len(label_set.codes)} classes")
    for codes, count in Counter(annotated.values()).most_common():
        typer.echo(f"{count:6d}  {label_set.in_words(codes)}")
