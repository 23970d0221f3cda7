"""The command `flare-train`."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from flare_infer.shell.command import SOME_FAILED, new_app, run, say_error
from train.commands.data import app as data_app
from train.commands.dicom import app as dicom_app
from train.commands.join import app as join_app
from train.commands.output import NAMES_SHOWN, problems_reported, say_notices
from train.commands.pipeline import app as pipeline_app
from train.commands.pseudo import app as pseudo_app
from train.commands.synth import app as synth_app
from train.fit.processes import end_at_once, is_one_of_several
from train.recipes.choice import ConfigOption, RecipeOption, chosen_recipe

StepsOption = Annotated[int | None, typer.Option(min=1, help="Steps in all (default: the recipe's).")]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that draw samples ahead (default: none on a CPU, up to 8 for a GPU)."),
]

app = new_app("Train a model on partially annotated CTs: scan, prepare, fit, export.")
app.add_typer(data_app)
app.add_typer(dicom_app)
app.add_typer(join_app)
app.add_typer(pipeline_app)
app.add_typer(pseudo_app)
app.add_typer(synth_app)


@app.command()
def fit(  # noqa: PLR0913, PLR0917 - a command has as many options as it needs
    store: Annotated[Path, typer.Argument(help="Folder of prepared cases.")],
    run: Annotated[Path, typer.Argument(help="Folder for checkpoint and journal; an interrupted run goes on.")],
    recipe: RecipeOption = "lite",
    config: ConfigOption = None,
    objects: Annotated[Path | None, typer.Option(help="Folder of tumor objects, for a recipe with CutMix.")] = None,
    start: Annotated[
        Path | None, typer.Option(help="Weights folder of the same network to begin with (default: random weights).")
    ] = None,
    steps: StepsOption = None,
    changed_cases: Annotated[
        bool,
        typer.Option("--changed-cases", help="Go on though the store or the objects are others; it is recorded."),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: WorkersOption = None,
) -> None:
    """Train. Ctrl-C or SIGTERM ends the step, and saves the state; the same command goes on from there.

    On many GPUs: torchrun --nproc-per-node GPUS --no-python flare-train fit STORE RUN ...
    """
    with problems_reported():
        from flare_infer.backends.allocator import keep_freed_blocks

        keep_freed_blocks()  # before torch is imported
        from flare_infer.backends.cores import use_cores_of_job
        from flare_infer.shell.interrupt import asked_to_stop
        from train.batches.stream import usual_workers
        from train.fit.initial_weights import begin_with_weights
        from train.fit.loop import fit as train_model
        from train.fit.matching_store import read_store_labels, recipe_for_store
        from train.fit.ranks import device_in_words, torchrun_ranks
        from train.fit.sources import record_changed_cases
        from train.record.callbacks import TrainingCallbacks
        from train.record.progress import TrainingProgress

        use_cores_of_job()
        chosen = recipe_for_store(store, chosen_recipe(recipe, steps, config, read_store_labels(store)))
        with (
            torchrun_ranks(device) as ranks,
            asked_to_stop(alone=not is_one_of_several(), says=ranks.first) as stop,
            _run_locked(run, store, objects) if ranks.first else nullcontext(),
        ):
            if ranks.first:
                _say_begin(device_in_words(ranks.device, ranks.count), store, chosen.unlabeled)
            if start is not None:
                ranks.first_then_others(lambda: begin_with_weights(start, chosen, run))
            if changed_cases:
                ranks.first_then_others(lambda: record_changed_cases(run, chosen, store, objects))
            with TrainingProgress(chosen.steps, chosen.validation, stop) if ranks.first else nullcontext() as terminal:
                callbacks = TrainingCallbacks(stop=stop) if terminal is None else terminal.callbacks
                drawing = usual_workers(ranks.device, ranks.count) if workers is None else workers
                train_model(chosen, store, run, ranks.device, callbacks, objects, drawing)
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
    nnunet: Annotated[
        Path | None, typer.Option(help="New folder to write the model to as nnU-Net's predictor loads it, too.")
    ] = None,
    checkpoint: Annotated[
        Literal["best", "last"] | None,
        typer.Option(help="Which network of the run (default: the best one, or the last of a run without validation)."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of the model there; its card is kept as .old.")
    ] = False,
) -> None:
    """Write model.json, model.safetensors and the start of a model card, proven to be the trained network."""
    with problems_reported():
        from flare_infer.backends.cores import use_cores_of_job
        from train.export.export import export as export_model
        from train.problems import refuse_inside

        use_cores_of_job()
        for folder in (target, nnunet or target):
            refuse_inside(folder, store)
        made = export_model(run, store, target, nnunet, checkpoint, replacing=replace)
    typer.echo(f"{made.spec.name} written to {target}")
    typer.echo(
        f"logits of a patch, read back: within {made.proof.weights:.1e} of the trained network with its numbers in 16 "
        f"bits, and that within {made.proof.rounding:.1e} of the network as it was trained"
    )
    if made.nnunet is not None:
        typer.echo(f"{made.nnunet.folder}, read back: within {made.proof.nnunet:.1e}\n{made.nnunet.how_to_predict()}")


@contextmanager
def _run_locked(run: Path, *inputs: Path | None) -> Iterator[None]:
    """Keep another `fit` off the folder of a run, which is made if need be; a new one outside of what is read."""
    from flare_infer.runs.outputs_lock import outputs_locked
    from train.problems import refuse_inside

    if not run.exists():
        refuse_inside(run, *inputs)
    run.mkdir(parents=True, exist_ok=True)
    with outputs_locked(run, say_error):
        yield


def _say_begin(device: str, store: Path, used: bool) -> None:
    """Print what training computes on, what becomes of cases with pseudo labels only, and doubts about CTs."""
    from train.store.store import read_doubts, read_names, read_unlabeled_names

    typer.echo(f"training on {device}")
    count, unlabeled = len(read_names(store, "training")), len(read_unlabeled_names(store))
    if used:
        typer.echo(f"{count} cases train, {unlabeled} of them with pseudo labels only")
    elif unlabeled:
        typer.echo(f"{count - unlabeled} cases train; unlabeled = false leaves out {unlabeled} with pseudo labels only")
    say_notices(read_doubts(store), NAMES_SHOWN)


def main() -> None:
    """Run the command line."""
    try:
        run(app)
    except SystemExit as end:
        if is_one_of_several():
            end_at_once(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise
