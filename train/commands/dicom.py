"""The command of `flare-train` that makes a dataset of DICOM."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flare_infer.shell.command import IMPOSSIBLE, SOME_FAILED, say_error
from train.commands.output import NAMES_SHOWN, problems_reported, progress_shown, say_notices

if TYPE_CHECKING:
    from train.dataset.dicom_cases import ImportedCase

app = typer.Typer()


@app.command("import-dicom")
def import_dicom(
    inputs: Annotated[
        Path, typer.Argument(help="Folder of any depth, or zip, of CT series with their SEG and RTSTRUCT objects.")
    ],
    dataset: Annotated[Path, typer.Argument(help="Folder for the dataset; what an earlier run wrote is kept.")],
    mapping: Annotated[
        Path | None,
        typer.Option(
            "--map",
            help="JSON or TOML file that says what structures are whose codes and names do not: names or SNOMED CT "
            "codes to classes.",
        ),
    ] = None,
    fill_gaps: Annotated[bool, typer.Option("--fill-gaps", help="Interpolate one missing slice.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each takes up to 3 GB for a long scan.")] = 1,
) -> None:
    """Make a dataset of DICOM: CTs, label maps of what was drawn on them, and which classes each case annotates.

    Exit code: 0 if every object was imported, 1 if some could not be, 2 if nothing could be done.
    """
    with problems_reported():
        from flare_infer.dicom.drawn_cases import find_drawn_cases
        from flare_infer.dicom.unzip import scratch_for
        from train.dataset.dicom_cases import import_cases
        from train.dataset.label_mapping import read_mapping
        from train.problems import refuse_inside

        refuse_inside(dataset, inputs)
        table = None if mapping is None else read_mapping(mapping)
        with scratch_for(inputs) as scratch:
            found = find_drawn_cases(inputs, scratch, fill_gaps=fill_gaps)
            with progress_shown("importing", len(found.cases)) as step:
                made = import_cases(found.cases, dataset, table, workers, step) if found.cases else []
    say_notices([*found.notices, *(line for one in made for line in one.notices)], NAMES_SHOWN)
    _say_unknown(made)
    problems = [*found.problems, *(one.problem for one in made if one.problem)]
    for line in problems:
        say_error(line)
    imported = [one for one in made if one.annotated]
    if not imported:
        say_error(f"{inputs}: no case could be imported")
        raise typer.Exit(IMPOSSIBLE)
    _say_imported(dataset, imported)
    if problems:
        raise typer.Exit(SOME_FAILED)


def _say_unknown(made: "list[ImportedCase]") -> None:
    """Print the structures that are no known class, with the number of cases that hold them."""
    counts = Counter(name for one in made for name in dict.fromkeys(one.unknown))
    lines = [f"left out, no known class: {name}, of {count} case(s)" for name, count in counts.most_common()]
    say_notices([*lines, *(["say what they are with --map FILE"] if lines else [])], NAMES_SHOWN + 1)


def _say_imported(dataset: Path, imported: "list[ImportedCase]") -> None:
    """Print how many cases were imported, and how many of them annotate which class."""
    from flare_infer.labels import CODES, NAMES

    kept = sum(one.kept for one in imported)
    there = f", {kept} of them there already" if kept else ""
    typer.echo(f"{dataset}: {len(imported)} cases{there}")
    for code in CODES:
        if count := sum(code in one.annotated for one in imported):
            typer.echo(f"{count:6d}  annotate {NAMES[code]}")
