"""The command `flare-eval`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flare_eval.accuracy.mode import Mode
from flare_infer.shell.command import SOME_FAILED, errors_reported, new_app, run, say_error

if TYPE_CHECKING:
    from flare_eval.accuracy.classes import ScoredClasses
    from flare_eval.accuracy.scores import FolderScores

app = new_app("Score label maps against references, by the rules of the FLARE 2023 challenge.")

Results = Annotated[
    list[str],
    typer.Argument(help="Folders that score and efficiency wrote, as FOLDER or NAME=FOLDER.", show_default=False),
]
SecondsTolerance = Annotated[
    float | None, typer.Option(help="Running times up to this many seconds count as equal (default: off).")
]
GpuTolerance = Annotated[
    float | None, typer.Option(help="Cases that never take more GPU memory than this (MB) have no area (default: off).")
]


@app.command()
def score(  # noqa: PLR0913, PLR0917 - a command has as many options as it needs
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted label maps, matched by case name.")],
    references: Annotated[Path, typer.Argument(help="Folder of references: CASE.nii.gz or CASE_labels.nii.gz.")],
    mode: Annotated[Mode, typer.Option(help="fixed: for research; official: the organizers' numbers.")] = Mode.FIXED,
    annotated: Annotated[
        Path | None,
        typer.Option(help="File of the annotated classes of each case (default: REFERENCES/annotated.json, if any)."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the model: classes it never learned are left out and named.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="labels.toml or dataset.json of the references (default: labels.toml beside them or one folder above; "
            "else the model's classes, or the challenge's)."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write tables and pictures into.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the CTs, for pictures (default: CASE_0000 beside the references).")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Cores to use (default: all of the job).")] = None,
) -> None:
    """Score a folder: DSC and NSD of each class, lesions found and missed, the paper's Table 3, and pictures.

    Only the classes that a case annotates count, and a missing or damaged prediction counts as zeros; official mode
    scores all 14 classes and stops at such a prediction.

    Exit code: 0 when every case was scored, 1 when some failed or had no sound prediction, or a picture was not drawn
    (without the extra `picture` there are none, which is no failure), 2 when nothing could be done.
    """
    from rich.console import Console
    from rich.progress import track

    progress = Console(stderr=True)
    with errors_reported():
        from flare_eval.accuracy.scoring import score_folder
        from flare_eval.reports.write import write_score_report
        from flare_infer.backends.cores import cores_of_job

        scores = score_folder(
            predictions,
            references,
            annotated=annotated,
            mode=mode,
            classes=_classes(references, labels, weights),
            jobs=jobs or cores_of_job(),
            track=lambda pairs: track(
                pairs, "scoring", console=progress, transient=True, disable=not progress.is_terminal
            ),
        )
        _show(scores)
        if out is not None:
            write_score_report(out, scores)
            _draw_report(out, scores, images)
    if not scores.complete:
        raise typer.Exit(SOME_FAILED)


@app.command()
def rank(
    results: Results,
    seconds_tolerance: SecondsTolerance = None,
    gpu_tolerance_mb: GpuTolerance = None,
) -> None:
    """Rank submissions as the challenge does: a rank for each case and metric, averaged; equal values share a rank.

    Metrics: organ and tumor DSC and NSD, seconds, area under the GPU memory curve; those that all submissions have.

    Exit code: 0, or 2 when they cannot be ranked.
    """
    with errors_reported():
        from flare_eval.reports.comparison import ranking_table
        from flare_eval.reports.ranking import Tolerances
        from flare_eval.reports.ranking import rank as rank_results
        from flare_eval.reports.submission import read_submission

        tolerances = Tolerances(seconds=seconds_tolerance, gpu_mb=gpu_tolerance_mb)
        ranking = rank_results([read_submission(result) for result in results], tolerances)
        for line in ranking_table(ranking):
            typer.echo(line)


@app.command()
def efficiency(
    cases: Annotated[Path, typer.Option(help="Folder of CTs; label maps beside CASE_0000 are passed over.")],
    out: Annotated[Path, typer.Option(help="Folder to write tables, curves, logs and new outputs into.")],
    image: Annotated[str | None, typer.Option(help="Container image to run with docker or podman.")] = None,
    command: Annotated[
        str | None, typer.Option(help="Shell line to run instead; it finds FLARE_INPUTS and FLARE_OUTPUTS.")
    ] = None,
    ram_gb: Annotated[float, typer.Option(min=0.001, help="Limit of main memory.")] = 28.0,
    gpu: Annotated[int, typer.Option(min=0, help="Index of the GPU, where there is one.")] = 0,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which a case is ended (default: never).")] = None,
) -> None:
    """Measure time and memory: one start per case, inputs and outputs as the challenge mounts them.

    Exit code: 0 when every case wrote its label map, 1 when some failed, 2 when nothing could be done.
    """
    with errors_reported():
        from flare_eval.efficiency.launch import launcher_for
        from flare_eval.efficiency.measure import Limits, MeasuredCase, images_to_run, measure_cases
        from flare_eval.efficiency.memory import find_gpu
        from flare_eval.reports.paper_tables import table_5
        from flare_eval.reports.write import write_efficiency

        device = find_gpu(gpu)
        images = images_to_run(cases)
        launcher = launcher_for(image, command, ram_gb, None if device is None else gpu)
        limits = Limits(ram_gb=ram_gb, seconds=timeout)
        measured: list[MeasuredCase] = []
        missing: list[str] = []
        for case in measure_cases(images, launcher, out, device, limits):
            measured.append(case)
            missing = write_efficiency(out, measured)
            if not case.run.ok:
                say_error(f"{case.run.case}: exit code {case.run.exit_code}, {case.run.note or 'see its log'}")
        typer.echo(table_5([case.run for case in measured]), nl=False)
        for line in missing:
            typer.echo(f"tables are written, pictures are not: {line}", err=True)
        if device is None:
            typer.echo("no NVIDIA GPU found: its columns are empty")
    if not all(case.run.ok for case in measured):
        raise typer.Exit(SOME_FAILED)


@app.command()
def compare(
    results: Results,
    out: Annotated[Path, typer.Option(help="Folder to write comparison.md and Table 4 into.")],
    seconds_tolerance: SecondsTolerance = None,
    gpu_tolerance_mb: GpuTolerance = None,
) -> None:
    """Compare submissions on the same cases in one Markdown report: accuracy, paired tests, efficiency, ranks.

    Exit code: 0, or 2 when they cannot be compared.
    """
    with errors_reported():
        from flare_eval.reports.ranking import Tolerances
        from flare_eval.reports.submission import read_submission
        from flare_eval.reports.write import write_comparison

        tolerances = Tolerances(seconds=seconds_tolerance, gpu_mb=gpu_tolerance_mb)
        write_comparison(out, [read_submission(result) for result in results], tolerances)
        typer.echo(f"{out / 'comparison.md'}: written")


def _classes(references: Path, labels: Path | None, weights: Path | None) -> "ScoredClasses":
    """The classes of the references, without those that the model of some weights never learned."""
    from flare_eval.accuracy.classes import classes_of

    if weights is None:
        return classes_of(references, labels)
    from flare_infer.model.model_file import read_model_file
    from flare_infer.model.weights import find_weights  # imports torch

    return classes_of(references, labels, read_model_file(find_weights(weights)).spec)


def _show(scores: "FolderScores") -> None:
    """Print the tables of a scored folder, and the lines that belong to them."""
    from rich.console import Console

    from flare_eval.reports.lesion_table import lesion_lines, lesion_table
    from flare_eval.reports.summary import notes, to_table

    tables = (to_table(scores), lesion_table(scores))
    for table in tables:
        if table is not None:
            Console().print(table)
    for line in (*lesion_lines(scores), *notes(scores)):
        typer.echo(line)


def _draw_report(out: Path, scores: "FolderScores", images: Path | None) -> None:
    """Draw the pictures of a report; one that cannot be drawn changes the exit code, a missing extra does not."""
    from flare_eval.reports.write import write_pictures
    from flare_infer.errors import FlareError, MissingExtraError

    try:
        for line in write_pictures(out, scores, images):
            typer.echo(line)
    except MissingExtraError as error:
        typer.echo(f"tables are written, pictures are not: {error}", err=True)
    except FlareError as error:
        say_error(f"tables are written, not all pictures are: {error}")
        raise typer.Exit(SOME_FAILED) from error


def main() -> None:
    """Run the command line."""
    run(app)
