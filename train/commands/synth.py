"""The command of `flare-train` that paints a dataset."""

from pathlib import Path
from typing import Annotated

import typer

from train.commands.output import problems_reported, progress_shown

app = typer.Typer()


@app.command()
def paint(  # noqa: PLR0913, PLR0917 - a command has as many options as it needs
    folder: Annotated[Path, typer.Argument(help="Folder for the painted dataset; empty or not there yet.")],
    maps: Annotated[
        Path | None,
        typer.Option(help="Folder of label maps: organs8, liver_tumor and kidney_tumor in it. Without it, invented."),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="TOML file with all that a cohort consists of, instead of the options below.")
    ] = None,
    cases: Annotated[int, typer.Option(min=1, help="Cases that train, about; they have seven label types.")] = 30,
    validation: Annotated[int, typer.Option(min=1, help="Cases of other patients, annotated completely.")] = 6,
    unlabeled: Annotated[int, typer.Option(min=0, help="Images without labels.")] = 6,
    grid: Annotated[float, typer.Option(min=1.0, max=8.0, help="Voxel size in mm.")] = 4.0,
    noisy: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Fraction of the cases with tumors that get false ones.")
    ] = 0.0,
    torso: Annotated[
        bool, typer.Option("--torso", help="Paint chest and pelvis, too, and now and then ascites.")
    ] = False,
    benign: Annotated[
        bool, typer.Option("--benign", help="Paint renal sinus and pelvis, and cysts of kidneys and liver.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds paint equal voxels.")] = 2023,
) -> None:
    """Paint CTs of which everything is known, with labels withheld as in the challenge; for trials."""
    with problems_reported():
        from train.config_file import record_from_file
        from train.problems import refuse_inside
        from train.synth.cohort import TRUTH_FOLDER, write_cohort
        from train.synth.cohort_plan import CohortPlan, cohort_plan_of

        refuse_inside(folder, maps)
        chosen = cohort_plan_of(
            cases,
            validation=validation,
            unlabeled=unlabeled,
            spacing_mm=(grid, grid, grid),
            noisy=noisy,
            torso=torso,
            benign=benign,
            seed=seed,
        )
        if plan is not None:
            chosen = record_from_file(CohortPlan, plan)
        training = sum(group.cases for group in chosen.groups)
        with progress_shown("painting", training + chosen.unlabeled + chosen.validation) as step:
            write_cohort(folder, chosen, maps, step)
    typer.echo(
        f"{folder}: {training} cases that train, {chosen.validation} that validate, {chosen.unlabeled} without labels; "
        f"the truth of all in {TRUTH_FOLDER}"
    )
