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
from train.pseudo.cli import app as pseudo_app
from train.recipe_choice import ConfigOption, RecipeOption, chosen_recipe
from train.synth.cli import app as synth_app

StepsOption = Annotated[int | None, typer.Option(min=1, help="Steps in all (default: the recipe's).")]

app = new_app("Train a model on partially annotated CTs: scan, prepare, fit, export.")
app.add_typer(data_app)
app.add_typer(pipeline_app)
app.add_typer(pseudo_app)
app.add_typer(synth_app)


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
        _say_unlabeled(store, chosen.unlabeled)
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
    nnunet: Annotated[
        Path | None, typer.Option(help="New folder to write the model to as nnU-Net's predictor loads it, too.")
    ] = None,
) -> None:
    """Write model.json, model.safetensors and the start of a model card, proven to be the trained network."""
    with errors_reported():
        from train.export import export as export_model

        made = export_model(run, store, target, nnunet)
    typer.echo(f"{made.spec.name} written to {target}")
    typer.echo(
        f"logits of a patch, read back: within {made.proof.weights:.1e} of the trained network with its numbers in 16 "
        f"bits, and that within {made.proof.rounding:.1e} of the network as it was trained"
    )
    if made.nnunet is not None:
        typer.echo(f"{made.nnunet.folder}, read back: within {made.proof.nnunet:.1e}\n{made.nnunet.how_to_predict()}")


def _say_unlabeled(store: Path, used: bool) -> None:
    """How many cases with pseudo labels only are trained on, or left out; nothing where neither has to do with them."""
    from train.data.store import read_names, read_unlabeled_names

    count, unlabeled = len(read_names(store, "training")), len(read_unlabeled_names(store))
    if used:
        typer.echo(f"{count} cases train, {unlabeled} of them with pseudo labels only")
    elif unlabeled:
        typer.echo(f"{count - unlabeled} cases train; unlabeled = false leaves out {unlabeled} with pseudo labels only")


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
