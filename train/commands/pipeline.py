"""The commands `flare-train pipeline` and `flare-train gather`."""

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
        typer.Argument(help="TOML file; docs/examples/pipeline.toml explains it. With --example: a new folder."),
    ],
    plan: Annotated[bool, typer.Option("--plan", help="Say what would run and why, and start nothing.")] = False,
    until: Annotated[str | None, typer.Option(help="Last stage to run.")] = None,
    example: Annotated[
        Literal["small"] | None,
        typer.Option(help="Write a configuration and a painted cohort for it that ends in minutes, and start nothing."),
    ] = None,
) -> None:
    """Run the paper's whole protocol; what was done already, from the same data by the same config, is not done again.

    Exit code: 0 when everything is done, 2 when a stage failed or nothing could be done, 130 or 143 if stopped.
    """
    from flare_infer.shell.interrupt import Interrupted, interruptible
    from train.commands.output import problems_reported, progress_shown

    with problems_reported():
        if example is not None:
            from train.protocol.example import CASES, write_example

            with progress_shown("painting", CASES) as step:
                written = write_example(config, step)
            typer.echo(f"{CASES} cases painted in {config}; now: flare-train pipeline {shlex.quote(str(written))}")
            return
        from train.protocol.run import plan_pipeline, run_pipeline

        if plan:
            typer.echo(plan_pipeline(config, until))
            return
        try:
            with interruptible():
                done = run_pipeline(config, until)
        except Interrupted as stop:
            say_error(f"{stop}; what is done is kept, the same command goes on from there")
            raise typer.Exit(stop.exit_code) from stop
    typer.echo(done)


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
