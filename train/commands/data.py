"""The commands of `flare-train` that check and prepare a dataset for `fit`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from train.commands.output import NAMES_SHOWN, problems_reported, progress_shown, say_notices
from train.recipes.choice import ConfigOption, RecipeOption, chosen_recipe

if TYPE_CHECKING:
    from train.dataset.label_mapping import LabelMapping
    from train.dataset.scan import DatasetScan

DatasetArgument = Annotated[
    Path, typer.Argument(help="Folder in nnU-Net's raw layout or the challenge's, with annotated.json.")
]
MapOption = Annotated[
    Path | None,
    typer.Option(
        "--map",
        help="JSON or TOML file that says what classes are whose names do not: names or codes of dataset.json to ours "
        "(default: mapping.json of the dataset, which `scan --write --map` keeps).",
    ),
]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Make anew what another recipe left there, instead of refusing it.")
]
WorkersOption = Annotated[int, typer.Option(min=1, help="Processes; each takes up to 3 GB for a long scan.")]

app = typer.Typer()


@app.command()
def scan(
    dataset: Annotated[Path, typer.Argument(help="Folder in nnU-Net's raw layout or the challenge's.")],
    write: Annotated[
        bool, typer.Option(help="Confirm: write annotated.json, each case annotating the classes that occur in it.")
    ] = False,
    mapping: MapOption = None,
    own_labels: Annotated[
        bool,
        typer.Option(
            "--own-labels",
            help="Write labels.toml: train the classes of dataset.json instead of the challenge's. Then read it.",
        ),
    ] = False,
    names: Annotated[
        bool, typer.Option("--names", help=f"Name every case of a label type, not the first {NAMES_SHOWN} only.")
    ] = False,
    workers: WorkersOption = 1,
) -> None:
    """Read every file: say which classes cases seem to annotate, and name every file that cannot be used."""
    with problems_reported():
        from flare_eval.label_maps.annotations import FILE_NAME
        from train.dataset.label_mapping import keep_mapping, keep_own_labels
        from train.dataset.scan import scan_dataset, write_proposal
        from train.dataset.splits import said_fold
        from train.problems import raise_if_any

        if own_labels:
            typer.echo(f"written: {keep_own_labels(dataset)}")
        mapped = _mapped(mapping, dataset)
        with progress_shown("reading", None) as step:
            found = scan_dataset(dataset, workers, step, mapped)
        if found.present or not found.problems:
            _say_types(found, len(found.present) if names else NAMES_SHOWN)
        say_notices(found.doubts, len(found.doubts) if names else NAMES_SHOWN)
        say_notices(said_fold(dataset), 1)
        raise_if_any(found.problems)
        if write:
            if mapped is not None:
                typer.echo(f"written: {keep_mapping(dataset, mapped, found.coding.label_set)}")
            if mapped is not None and (dataset / FILE_NAME).exists():
                typer.echo(f"kept: {dataset / FILE_NAME}")
            else:
                typer.echo(f"written: {write_proposal(dataset, found.present)}")
        else:
            typer.echo("to confirm this reading: the same command with --write, then edit annotated.json where it errs")


@app.command()
def split(
    dataset: DatasetArgument,
    fraction: Annotated[float, typer.Option(help="Least fraction of the cases that validate.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Equal seeds draw equal patients.")] = 0,
) -> None:
    """Draw whole patients for validation and write splits.json."""
    with problems_reported():
        from train.dataset.cases import read_cases
        from train.dataset.splits import draw_validation, read_patients, write_validation

        patients = read_patients(dataset, [case.name for case in read_cases(dataset)])
        validation = draw_validation(patients, fraction, seed)
        path = write_validation(dataset, validation)
    typer.echo(f"{path}: {len(validation)} of {len(patients)} cases validate: {', '.join(sorted(validation))}")


@app.command()
def prepare(  # noqa: PLR0913, PLR0917 - a command has as many options as it needs
    dataset: DatasetArgument,
    store: Annotated[Path, typer.Argument(help="Folder for prepared cases; cases already there are kept.")],
    recipe: RecipeOption = "lite",
    config: ConfigOption = None,
    normalization: Annotated[
        Literal["auto", "recipe", "dataset"],
        typer.Option(
            help="dataset: from the foreground of the cases that train; recipe: its own numbers; auto: those of cases "
            "that are in the store, or that --config changes, and else dataset."
        ),
    ] = "auto",
    mapping: MapOption = None,
    replace: ReplaceOption = False,
    workers: WorkersOption = 1,
) -> None:
    """Bring every case to the model's grid."""
    with problems_reported():
        import dataclasses

        from flare_infer.backends.cores import use_cores_of_job
        from train.dataset.cases import expert_cases, label_set_of_cases, training_cases, untrained_codes
        from train.dataset.check import sound_cases
        from train.dataset.splits import said_fold
        from train.problems import refuse_inside
        from train.store.normalization import foreground_normalization, kept_normalization
        from train.store.prepare import prepare_cases
        from train.store.store import read_doubts

        use_cores_of_job()
        if not store.exists():
            refuse_inside(store, dataset)
        with progress_shown("checking", None) as step:
            cases = sound_cases(dataset, workers, step, _mapped(mapping, dataset))
        labels = label_set_of_cases(cases)
        chosen = chosen_recipe(recipe, config=config, label_set=labels)
        spec, cleaning = chosen.spec, chosen.label_cleaning
        stated = normalization != "auto" or spec.normalization != chosen_recipe(recipe).spec.normalization
        kept = None if stated or replace else kept_normalization(store)
        if kept is not None:
            spec = dataclasses.replace(spec, normalization=kept)
        elif normalization == "dataset" or not stated:
            with progress_shown("measuring", len(expert_cases(cases))) as step:
                spec = dataclasses.replace(spec, normalization=foreground_normalization(cases, workers, step, cleaning))
            typer.echo(f"foreground of the training set: {spec.normalization}")
        with progress_shown("preparing", len(cases)) as step:
            prepare_cases(cases, spec, store, step, workers, cleaning, replacing=replace)
        say_notices([*said_fold(dataset), *read_doubts(store)], NAMES_SHOWN)
    training = training_cases(cases)
    held_out, unlabeled = len(cases) - len(training), len(training) - len(expert_cases(cases))
    typer.echo(
        f"{len(cases)} cases prepared in {store}"
        + (f", {held_out} of them for validation" if held_out else "")
        + (f", {unlabeled} with pseudo labels only" if unlabeled else "")
    )
    if cleaning is not None:
        typer.echo("labels of the cases that train were cleaned" + (", those for validation were not" * bool(held_out)))
    untrained = untrained_codes([case.annotated for case in training], labels)
    if untrained:
        typer.echo(f"annotated by no case: {', '.join(labels.names[code] for code in untrained)}")


@app.command()
def clean(
    dataset: DatasetArgument,
    target: Annotated[Path, typer.Argument(help="Folder for the cleaned dataset; empty or not there yet.")],
    smallest: Annotated[int, typer.Option(help="Components of fewer voxels go (an organ's largest stays).")] = 100,
    far: Annotated[float, typer.Option(help="Tumors farther than this from every organ go, in mm.")] = 20.0,
    organs: Annotated[
        str | None,
        typer.Option(
            help="Codes that a case must annotate before its tumors are judged by organs, as 1,3,4. Tumors far from "
            "these go, those of other organs, too.",
            show_default="all organs",
        ),
    ] = None,
    mapping: MapOption = None,
    workers: WorkersOption = 1,
) -> None:
    """Write a dataset without what is not to be believed, a table of it, and a sheet of before and after."""
    with problems_reported():
        from train.dataset.cases import label_set_of_cases
        from train.dataset.check import sound_cases
        from train.dataset.clean import CleaningRules
        from train.dataset.clean_dataset import SHEET_FILE, clean_dataset, draw_findings

        with progress_shown("checking", None) as step:
            cases = sound_cases(dataset, workers, step, _mapped(mapping, dataset))
        labels = label_set_of_cases(cases)
        needed = labels.organs if organs is None else _codes(organs)
        cleaning = CleaningRules(smallest_voxels=smallest, far_mm=far, organs_needed=needed)
        cleaning.check(labels)
        with progress_shown("cleaning", len(cases)) as step:
            reports = clean_dataset(cases, target, cleaning, step, workers)
        sheet = draw_findings(reports, cleaning)
        if sheet is not None:
            sheet.save(target / SHEET_FILE)
    count = sum(len(report.rows) for report in reports)
    typer.echo(f"{target}: {count} components removed in {sum(bool(report.rows) for report in reports)} cases")
    skipped = [report.case.name for report in reports if report.organs_unknown]
    if skipped:
        typer.echo(f"organs unknown, tumors judged by size alone: {', '.join(skipped)}")


@app.command()
def objects(  # noqa: PLR0913, PLR0917 - a command has as many options as it needs
    dataset: DatasetArgument,
    folder: Annotated[Path, typer.Argument(help="Folder for tumor objects; those already there are kept.")],
    store: Annotated[Path | None, typer.Option(help="Take normalization and --map of these prepared cases.")] = None,
    recipe: RecipeOption = "lite",
    config: ConfigOption = None,
    margin_grid: Annotated[
        Literal["native", "coarse"], typer.Option(help="Margins are voxels of the scan, or of the model's grid.")
    ] = "native",
    mapping: MapOption = None,
    replace: ReplaceOption = False,
    workers: WorkersOption = 1,
) -> None:
    """Cut out the tumors that context-aware CutMix pastes, never from a validation case."""
    with problems_reported():
        from train.dataset.cases import label_set_of_cases
        from train.dataset.check import sound_cases
        from train.fit.matching_store import recipe_for_store
        from train.problems import refuse_inside
        from train.store.extract_tumors import (
            Margins,
            extract_objects,
            refuse_other_objects,
            refuse_without_lesions,
            tumor_cases,
        )
        from train.store.tumor_objects import read_objects
        from train.store.tumor_sheet import draw_objects

        if not folder.exists():
            refuse_inside(folder, dataset, store)
        with progress_shown("checking", None) as step:
            cases = sound_cases(dataset, workers, step, _mapped(mapping, dataset, store))
        chosen = chosen_recipe(recipe, config=config, label_set=label_set_of_cases(cases))
        spec = (chosen if store is None else recipe_for_store(store, chosen)).spec
        refuse_without_lesions(spec.label_set)
        with progress_shown("cutting out", len(tumor_cases(cases))) as step:
            margins, cleaning = Margins(grid=margin_grid), chosen.label_cleaning
            if not replace:
                refuse_other_objects(folder, spec, margins, cleaning)
            extract_objects(cases, spec, margins, folder, step, workers, cleaning)
        found = read_objects(folder, [case.name for case in cases if case.validation])
        draw_objects(found, spec).save(folder / "sheet.png")
    typer.echo(f"{len(found)} tumor objects of {len({item.case for item in found})} cases in {folder}")


def _say_types(found: "DatasetScan", most: int) -> None:
    """Print label types with counts, at most `most` names of each, and those that may be another with absent organs."""
    from train.dataset.scan import doubtful_label_types
    from train.differences import some_of

    types, label_set = found.label_types, found.coding.label_set
    lacking = doubtful_label_types(types)
    if not label_set.is_challenge:
        lesions = label_set.in_words(label_set.lesion_codes) or "none"
        typer.echo(f"a label set of its own, {len(label_set.codes)} classes; lesions: {lesions}")
    if found.coding.translates:
        typer.echo(f"numbers of these label maps are turned into ours: {found.coding.in_words()}")
    typer.echo(f"{len(found.present)} usable cases, {len(types)} label types:")
    for codes, names in types.items():
        typer.echo(f"{len(names):6d}  {label_set.in_words(codes) or 'no label at all'}")
        typer.echo(f"        {some_of(names, most, ', ')}")
        if unexplained := [name for name in names if name in found.unexplained]:
            listed = some_of(unexplained, most, ", ")
            typer.echo(f"        {listed}: say in annotated.json what was looked for, or leave them out")
        if codes in lacking:
            other = ", ".join(label_set.names[code] for code in lacking[codes])
            typer.echo(f"        a type with {other} besides is there: is {other} absent here, or not drawn?")


def _mapped(file: Path | None, dataset: Path, store: Path | None = None) -> "LabelMapping | None":
    """The mapping given with `--map`, or else the one that a store was prepared with."""
    from train.dataset.label_mapping import dataset_label_set, read_mapping
    from train.store.store import read_store_mapping

    if file is not None:
        return read_mapping(file, dataset_label_set(dataset))
    return None if store is None else read_store_mapping(store)


def _codes(text: str) -> tuple[int, ...]:
    from flare_infer.errors import UsageError

    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise UsageError(f"--organs: expected codes with commas between them, as 1,3,4, found {text!r}") from error
