"""The command `flare-train`."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from flare_infer.command_line import SOME_FAILED, errors_reported, new_app, say_error
from train.data.cli import app as data_app
from train.pipeline.cli import app as pipeline_app
from train.recipe_choice import ConfigOption, RecipeOption, chosen_recipe

StepsOption = Annotated[int | None, typer.Option(min=1, help="Steps in all (default: the recipe's).")]

app = new_app("Train a model on partially annotated CTs: scan, prepare, fit, export.")
app.add_typer(data_app)
app.add_typer(pipeline_app)


@app.command()
def fit(
    store: Annotated[Path, typer.Argument(help="Folder of prepared cases.")],
    run: Annotated[Path, typer.Argument(help="Folder for checkpoint and journal; an interrupted run goes on.")],
    recipe: RecipeOption = "lite",
    config: ConfigOption = None,
    objects: Annotated[Path | None, typer.Option(help="Folder of tumor objects, for a recipe with CutMix.")] = None,
    steps: StepsOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Train. Ctrl-C or SIGTERM saves the state; the same command goes on from there."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with errors_reported():
        from flare_infer.device import choose_device
        from train.fit.grid import on_grid_of
        from train.fit.journal import Entry
        from train.fit.loop import fit as train_model

        chosen = on_grid_of(store, chosen_recipe(recipe, steps, config))
        columns = (
            TextColumn("step {task.completed} of {task.total}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        console = Console(stderr=True)
        bar = Progress(*columns, console=console, disable=not console.is_terminal)
        with bar, _asked_to_stop() as stop:
            task = bar.add_task("", total=chosen.steps)

            def progress(entry: Entry) -> None:
                bar.update(task, completed=entry.step + 1, description=f"loss {entry.loss:.3f}")

            train_model(chosen, store, run, choose_device(device), progress, stop, objects)
            interrupted = stop()
    if interrupted:
        say_error(f"{run}: interrupted, state saved; the same command goes on from there")
        raise typer.Exit(SOME_FAILED)
    typer.echo(f"trained: {run}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    store: Annotated[Path, typer.Argument(help="The prepared cases it was trained on.")],
    target: Annotated[Path, typer.Argument(help="Weights folder to write, for example weights/mine.")],
) -> None:
    """Write model.json, model.safetensors and the start of a model card."""
    with errors_reported():
        from train.export import export as export_model

        spec = export_model(run, store, target)
    typer.echo(f"{spec.name} written to {target}")


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C and SIGTERM do not end the process; they make the function true."""
    signals = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda received, frame: signals.append(received)) for number in numbers]
    try:
        yield lambda: bool(signals)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def main() -> None:
    """Run the command line."""
    app()
