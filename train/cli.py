"""The command `flare-train`."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from flare_infer.command_line import SOME_FAILED, errors_reported, new_app, say_error
from train.data.cli import app as data_app
from train.recipe_choice import ConfigOption, RecipeOption, chosen_recipe

StepsOption = Annotated[int | None, typer.Option(min=1, help="Steps in all (default: the recipe's).")]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that draw samples ahead (default: none on a CPU, up to 8 for a GPU)."),
]

app = new_app("Train a model on partially annotated CTs: scan, prepare, fit, export.")
app.add_typer(data_app)


@app.command()
def fit(  # noqa: PLR0913, PLR0917 - a command has as many options as it needs
    store: Annotated[Path, typer.Argument(help="Folder of prepared cases.")],
    run: Annotated[Path, typer.Argument(help="Folder for checkpoint and journal; an interrupted run goes on.")],
    recipe: RecipeOption = "lite",
    config: ConfigOption = None,
    objects: Annotated[Path | None, typer.Option(help="Folder of tumor objects, for a recipe with CutMix.")] = None,
    steps: StepsOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: WorkersOption = None,
) -> None:
    """Train. Ctrl-C or SIGTERM saves the state; the same command goes on from there.

    On many GPUs: torchrun --nproc-per-node GPUS --no-python flare-train fit STORE RUN ...
    """
    with errors_reported():
        from train.fit.asked_to_stop import asked_to_stop
        from train.fit.grid import on_grid_of
        from train.fit.loop import fit as train_model
        from train.fit.ranks import torchrun_ranks
        from train.fit.stream import usual_workers
        from train.fit.terminal import Terminal
        from train.fit.watch import Watch

        chosen = on_grid_of(store, chosen_recipe(recipe, steps, config))
        with torchrun_ranks(device) as ranks, asked_to_stop() as stop:
            with Terminal(chosen.steps, chosen.validation, stop) if ranks.first else nullcontext() as terminal:
                watch = Watch(stop=stop) if terminal is None else terminal.watch
                drawing = usual_workers(ranks.device, ranks.count) if workers is None else workers
                train_model(chosen, store, run, ranks.device, watch, objects, drawing)
            interrupted = ranks.any(stop())
    if not ranks.first:
        raise typer.Exit(SOME_FAILED if interrupted else 0)
    if interrupted:
        say_error(f"{run}: interrupted, state saved; the same command goes on from there")
        raise typer.Exit(SOME_FAILED)
    typer.echo(f"trained: {run}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    store: Annotated[Path, typer.Argument(help="The prepared cases it was trained on.")],
    target: Annotated[Path, typer.Argument(help="Weights folder to write, for example weights/mine.")],
    checkpoint: Annotated[
        Literal["best", "last"] | None,
        typer.Option(help="Which network of the run (default: the best one, or the last of a run without validation)."),
    ] = None,
) -> None:
    """Write model.json, model.safetensors and the start of a model card."""
    with errors_reported():
        from train.export import export as export_model

        spec = export_model(run, store, target, checkpoint)
    typer.echo(f"{spec.name} written to {target}")


def main() -> None:
    """Run the command line."""
    app()
