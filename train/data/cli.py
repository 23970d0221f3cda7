"""The commands of `flare-train` from a dataset to what `fit` reads."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from flare_infer.command_line import IMPOSSIBLE, errors_reported, say_error
from train.recipe_choice import ConfigOption, RecipeOption, chosen_recipe

DatasetArgument = Annotated[Path, typer.Argument(help="Folder in nnU-Net's raw layout, with annotated.json.")]
WorkersOption = Annotated[int, typer.Option(min=1, help="Processes; each takes up to 3 GB for a long scan.")]

app = typer.Typer()


@app.command()
def split(
    dataset: DatasetArgument,
    fraction: Annotated[float, typer.Option(help="Least fraction of the cases that validate.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Equal seeds draw equal patients.")] = 0,
) -> None:
    """Draw whole patients for validation and write splits.json."""
    with _problems_reported():
        from train.data.cases import read_cases
        from train.data.splits import draw_validation, read_patients, write_validation

        patients = read_patients(dataset, [case.name for case in read_cases(dataset)])
        validation = draw_validation(patients, fraction, seed)
        path = write_validation(dataset, validation)
    typer.echo(f"{path}: {len(validation)} of {len(patients)} cases validate: {', '.join(sorted(validation))}")


@app.command()
def prepare(
    dataset: DatasetArgument,
    store: Annotated[Path, typer.Argument(help="Folder for prepared cases; cases already there are kept.")],
    recipe: RecipeOption = "lite",
    config: ConfigOption = None,
    normalization: Annotated[
        Literal["recipe", "dataset"],
        typer.Option(help="recipe: its own numbers; dataset: from the foreground of the cases that train."),
    ] = "recipe",
    workers: WorkersOption = 1,
) -> None:
    """Bring every case to the model's grid."""
    with _problems_reported():
        from dataclasses import replace

        from train.data.cases import read_cases, training_cases, untrained_codes
        from train.data.prepare import prepare_cases
        from train.data.statistics import foreground_normalization

        cases = read_cases(dataset)
        spec = chosen_recipe(recipe, config=config).spec
        if normalization == "dataset":
            with _progress("measuring", len(training_cases(cases))) as step:
                spec = replace(spec, normalization=foreground_normalization(cases, workers, step))
            typer.echo(f"foreground of the training set: {spec.normalization}")
        with _progress("preparing", len(cases)) as step:
            prepare_cases(cases, spec, store, step, workers)
    training = training_cases(cases)
    held_out = len(cases) - len(training)
    typer.echo(f"{len(cases)} cases prepared in {store}" + (f", {held_out} of them for validation" if held_out else ""))
    untrained = untrained_codes([case.annotated for case in training])
    if untrained:
        typer.echo(f"annotated by no case: {', '.join(spec.labels[code] for code in untrained)}")


@contextmanager
def _problems_reported() -> Iterator[None]:
    """Turn a list of problems into a line each, another of our errors into one line."""
    from train.data.problems import ProblemsError

    with errors_reported():
        try:
            yield
        except ProblemsError as error:
            for line in error.problems:
                say_error(line)
            raise typer.Exit(IMPOSSIBLE) from error


@contextmanager
def _progress(verb: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, nothing elsewhere; inside, a function to call after each case."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(verb, total=total)
        yield lambda: bar.advance(task)
