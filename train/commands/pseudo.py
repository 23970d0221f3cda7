"""The commands of `flare-train` from predictions of unlabeled cases to the dataset of the coarse model."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from train.commands.output import problems_reported, progress_shown

WorkersOption = Annotated[int, typer.Option(min=1, help="Processes.")]

app = typer.Typer()


@app.command()
def uncertainty(
    table: Annotated[Path, typer.Argument(help="CSV file to write: case, organs, tumor.")],
    organs: Annotated[
        list[Path], typer.Option(help="Folder of predicted label maps; give two or more, in the order to compare.")
    ],
    tumor: Annotated[list[Path], typer.Option(help="The same for tumors; folders may stand in both lists.")],
    images: Annotated[
        Path | None, typer.Option(help="The unlabeled CTs: measure these cases (default: those of the folders).")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Dataset or labels.toml of their classes, where these are not the challenge's."),
    ] = None,
    workers: WorkersOption = 1,
) -> None:
    """Measure how much predictions of the same cases disagree: organs and tumors, each with its own folders."""
    with problems_reported():
        from flare_infer.files.label_set_file import read_label_set
        from flare_infer.formats.volume_io import find_images
        from flare_infer.label_set import FLARE23
        from train.dataset.label_mapping import dataset_label_set
        from train.problems import refuse_inside
        from train.pseudo.uncertainty import measure_uncertainties
        from train.pseudo.uncertainty_table import write_uncertainties

        refuse_inside(table, *organs, *tumor, images)
        names = None if images is None else find_images(images).keys()
        label_set = FLARE23
        if labels is not None:
            label_set = dataset_label_set(labels) if labels.is_dir() else read_label_set(labels)
        with progress_shown("comparing", None) as step:
            rows = measure_uncertainties(organs, tumor, names, workers, step, label_set)
        write_uncertainties(table, rows)
    typer.echo(
        f"{table}: {len(rows)} cases; undefined for organs of {sum(row.organs is None for row in rows)}, "
        f"for tumors of {sum(row.tumor is None for row in rows)}"
    )


@app.command()
def select(
    table: Annotated[Path, typer.Argument(help="What `flare-train uncertainty` wrote.")],
    selection: Annotated[Path, typer.Argument(help="JSON file to write.")],
    count: Annotated[int, typer.Option(help="Cases with the least uncertainty of organs.")] = 1000,
    with_tumor: Annotated[int, typer.Option(help="How many of them keep their tumors: the surest of these.")] = 100,
) -> None:
    """Choose the unlabeled cases to train on; undefined uncertainties are never chosen."""
    with problems_reported():
        from train.pseudo import select as selecting
        from train.pseudo.uncertainty_table import read_uncertainties

        chosen = selecting.select_cases(read_uncertainties(table), count, with_tumor)
        selecting.write_selection(selection, chosen)
    for note in chosen.notes:
        typer.echo(note)
    typer.echo(
        f"{selection}: {len(chosen.names)} cases; tumors are kept in {len(chosen.keep_tumor)}, and pasted into "
        f"{len(chosen.hosts)}"
    )


@app.command()
def merge(  # noqa: PLR0913, PLR0917 - a command has as many options as it needs
    dataset: Annotated[Path, typer.Argument(help="The experts' dataset.")],
    target: Annotated[Path, typer.Argument(help="The merged dataset; what is there already is kept.")],
    organs: Annotated[
        Path | None,
        typer.Option(help="The fine model's label maps of the experts' cases: their organs fill tumor-only ones."),
    ] = None,
    fill: Annotated[
        Literal["tumor_only", "partial"],
        typer.Option(help="Which: those that annotate no organ, or all that lack some."),
    ] = "tumor_only",
    images: Annotated[Path | None, typer.Option(help="The unlabeled CTs.")] = None,
    labels: Annotated[Path | None, typer.Option(help="The fine model's label maps of them.")] = None,
    selection: Annotated[Path | None, typer.Option(help="What `flare-train select` wrote.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the fine model: classes it was not trained for stay unannotated.")
    ] = None,
    workers: WorkersOption = 1,
) -> None:
    """Write the dataset of the coarse model: experts' labels, and pseudo labels where there are none."""
    with problems_reported():
        from train.dataset.label_mapping import dataset_label_set
        from train.pseudo.merge import merge_dataset
        from train.pseudo.merge_plan import PseudoLabels, known_codes
        from train.pseudo.select import read_selection

        label_set = dataset_label_set(dataset)
        pseudo = PseudoLabels(
            organs=organs,
            fill="none" if organs is None else fill,
            images=images,
            labels=labels,
            selection=None if selection is None else read_selection(selection),
            known=known_codes(weights, label_set),
            label_set=label_set,
        )
        with progress_shown("merging", None) as step:
            made = merge_dataset(dataset, pseudo, target, workers, step)
    counts = {kind: len(made.names(kind)) for kind in ("expert", "filled", "keep_tumor", "host")}
    typer.echo(
        f"{target}: {len(made.cases)} cases: {counts['expert']} as experts left them, {counts['filled']} with a "
        f"model's organs, {counts['keep_tumor']} unlabeled with tumors, {counts['host']} unlabeled hosts"
    )
