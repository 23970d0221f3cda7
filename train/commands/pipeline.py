"""The commands `flare-train pipeline`, and of its stages `gather`, `assemble` and `average`."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from flare_infer.shell.command import say_error

app = typer.Typer()


@app.command()
def pipeline(
    config: Annotated[
        Path,
        typer.Argument(
            help="TOML file; docs/examples explains the paper's, pipeline.toml, and that of the shipped weights, "
            "lite.toml. With --example: a new folder."
        ),
    ],
    plan: Annotated[bool, typer.Option("--plan", help="Say what would run and why, and start nothing.")] = False,
    until: Annotated[str | None, typer.Option(help="Last stage to run.")] = None,
    only: Annotated[
        str | None, typer.Option(help="The one stage to run; refused if one that it reads from is not done.")
    ] = None,
    export: Annotated[
        Literal["sbatch", "snakefile"] | None,
        typer.Option(
            help="Print a shell script that submits each stage to Slurm, or a Snakefile with a rule for each; start "
            "nothing."
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="New file for what --export would print.")] = None,
    example: Annotated[
        Literal["small"] | None,
        typer.Option(help="Write a configuration and a painted cohort for it that ends in minutes, and start nothing."),
    ] = None,
) -> None:
    """Run a whole protocol, the paper's or the shipped weights'; what is done, from the same data, is not done again.

    Exit code: 0 when everything is done, 2 when a stage failed or nothing could be done, 130 or 143 if stopped.
    """
    from flare_infer.shell.interrupt import Interrupted, interruptible
    from train.commands.output import problems_reported, progress_shown

    with problems_reported():
        _refuse_together(plan, until, only, export, to, example)
        if example is not None:
            from train.protocol.example import CASES, write_example

            with progress_shown("painting", CASES) as step:
                written = write_example(config, step)
            typer.echo(f"{CASES} cases painted in {config}; now: flare-train pipeline {shlex.quote(str(written))}")
            return
        from train.protocol.run import export_pipeline, plan_pipeline, run_only, run_pipeline

        if plan:
            typer.echo(plan_pipeline(config, until))
            return
        if export is not None:
            _hand_over(export_pipeline(config, export, until), to)
            return
        try:
            with interruptible():
                done = run_pipeline(config, until) if only is None else run_only(config, only)
        except Interrupted as stop:
            say_error(f"{stop}; what is done is kept, the same command goes on from there")
            raise typer.Exit(stop.exit_code) from stop
    typer.echo(done)


def _refuse_together(
    plan: bool, until: str | None, only: str | None, export: str | None, to: Path | None, example: str | None
) -> None:
    from flare_infer.errors import UsageError

    modes = {"--plan": plan, "--only": only is not None, "--export": export is not None, "--example": example}
    asked = [name for name, given in modes.items() if given]
    if len(asked) > 1 and (only is not None or export is not None):
        raise UsageError(f"{' and '.join(asked)} do not go together; choose one")
    if only is not None and until is not None:
        raise UsageError("--only and --until do not go together; choose one")
    if to is not None and export is None:
        raise UsageError("--to names a file for --export, which is missing")


def _hand_over(text: str, file: Path | None) -> None:
    from flare_infer.errors import UsageError
    from flare_infer.files.write_whole import write_whole

    if file is None:
        typer.echo(text, nl=False)
        return
    if file.exists():
        raise UsageError(f"{file}: is there already, and nothing is overwritten; choose another name")
    write_whole(file, text)
    typer.echo(f"{file}: written")


@app.command()
def gather(
    dataset: Annotated[Path, typer.Argument(help="The labeled cases.")],
    target: Annotated[Path, typer.Argument(help="Folder for links to images; empty or not there yet.")],
    fill: Annotated[
        Literal["tumor_only", "partial"],
        typer.Option(help="Cases that annotate tumors and no organ, or all that lack some organs; as for merge."),
    ] = "tumor_only",
) -> None:
    """Link the images of the cases whose organs a model is to fill in, for `flare-infer predict`."""
    from train.commands.output import problems_reported

    with problems_reported():
        from train.protocol.gather import gather_images

        images = gather_images(dataset, fill, target)
    typer.echo(f"{target}: {len(images)} images to label")


@app.command()
def assemble(
    experts: Annotated[Path, typer.Argument(help="Folder of NAME_0000.nii.gz, NAME_labels.nii.gz and annotated.json.")],
    target: Annotated[Path, typer.Argument(help="Folder for the dataset; empty or not there yet.")],
    config: Annotated[
        Path | None, typer.Option(help="TOML file with what is to be known of the cases: held_out, patients, ...")
    ] = None,
    painted: Annotated[list[Path] | None, typer.Option(help="Painted dataset to add; as often as there are.")] = None,
    unlabeled: Annotated[Path | None, typer.Option(help="Folder of unlabeled CTs to add.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A model's label maps of them, of which the organs count.")
    ] = None,
) -> None:
    """Make one dataset of CTs that experts annotated, painted ones, and unlabeled ones with a model's organs."""
    from train.commands.output import problems_reported

    with problems_reported():
        from flare_infer.errors import UsageError
        from train.config_file import record_from_file
        from train.protocol.assemble import Cases, PseudoLabeled
        from train.protocol.assemble import assemble as assemble_dataset

        if (unlabeled is None) != (labels is None):
            raise UsageError("--unlabeled and --labels belong together: CTs, and a model's label maps of them")
        known = Cases() if config is None else record_from_file(Cases, config)
        pseudo = None if unlabeled is None or labels is None else PseudoLabeled(images=unlabeled, labels=labels)
        count = assemble_dataset(experts, target, known, painted or (), pseudo)
    typer.echo(f"{target}: {count} cases")


@app.command()
def average(
    target: Annotated[Path, typer.Argument(help="New weights folder.")],
    models: Annotated[list[Path], typer.Argument(help="Weights folders, in the order of the shares.")],
    config: Annotated[Path, typer.Option(help="TOML file with the shares, and how tumors are treated.")],
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="What `flare-train assemble` made for the model with the largest share, to state its labels."
        ),
    ] = None,
) -> None:
    """Average networks that began with the same weights into one."""
    from train.commands.output import problems_reported

    with problems_reported():
        from flare_infer.errors import DatasetError
        from flare_infer.files.json_file import read_object
        from train.config_file import record_from_file
        from train.export.average import Average
        from train.export.average import average as average_models
        from train.protocol.assemble import ORIGINS_FILE

        origins = None if dataset is None else read_object(dataset / ORIGINS_FILE, DatasetError)
        average_models(record_from_file(Average, config), models, target, origins)
    typer.echo(f"{target}: the average of {len(models)} models")
