"""The stages of the paper's protocol, in order (section 3.2, "Training protocols")."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from train.dataset.layout import dataset_files
from train.protocol.config import Config, Counts, Model
from train.protocol.model_stages import (
    SEALED,
    TRAIN,
    Chosen,
    export_stage,
    fit_stage,
    prepare_stage,
    usual_normalization,
)
from train.protocol.pseudo_stages import pseudo_stages
from train.protocol.run_folder import RunFolder
from train.protocol.test_stages import test_stages
from train.recipes.recipe import TrainingRecipe
from train.workflow.stage import Stage


def pipeline_stages(config: Config, counts: Counts) -> list[Stage]:
    """All stages; each comes after those it reads from.

    Args:
        config: what to do, checked.
        counts: of the cases it finds, for progress.
    """
    run_folder = RunFolder(run=config.run, first_seed=next(iter(config.fine.recipes())))
    # Without a case to label there is nothing that a fine model would be for.
    fine = _fine_stages(config, counts, run_folder) if counts.lacking + counts.unlabeled else []
    return [
        *fine,
        *pseudo_stages(config, counts, run_folder),
        *_coarse_stages(config, counts, run_folder),
        *test_stages(config, counts, run_folder),
    ]


def recipe_files(config: Config) -> dict[Path, Mapping[str, Any]]:
    """What is changed in recipes, by the file that the commands name."""
    recipes = config.fine.recipes()
    run_folder = RunFolder(run=config.run, first_seed=next(iter(recipes)))
    files: dict[Path, Mapping[str, Any]] = {run_folder.recipe("fine", seed): made[1] for seed, made in recipes.items()}
    ((_, change),) = config.coarse.recipes().values()
    return files | {run_folder.recipe("coarse"): change}


def _fine_stages(config: Config, counts: Counts, run_folder: RunFolder) -> list[Stage]:
    store, workers = run_folder.fine("store"), config.machine.workers
    models = {
        seed: _chosen(config.fine, recipe, run_folder.recipe("fine", seed), store)
        for seed, (recipe, _) in config.fine.recipes(config.label_set).items()
    }
    first = next(iter(models))
    prepare = prepare_stage("prepare-fine", config.data.dataset, store, models[first], workers, counts.labeled)
    stages = [replace(prepare, inputs={"dataset": dataset_files(config.data.dataset)})]
    # The others are sources of uncertainty, for which there must be unlabeled cases.
    used = models if counts.unlabeled else {first: models[first]}
    for seed, chosen in used.items():
        fit, run = f"fit-fine{run_folder.ending(seed)}", run_folder.fine("run", seed)
        export = export_stage(f"export-fine{run_folder.ending(seed)}", run, store, run_folder.fine("weights", seed))
        stages.append(replace(fit_stage(fit, store, run, chosen, config.machine), after=("prepare-fine",)))
        stages.append(replace(export, after=(fit,)))
    return stages


def _coarse_stages(config: Config, counts: Counts, run_folder: RunFolder) -> list[Stage]:
    ((recipe, _),) = config.coarse.recipes(config.label_set).values()
    merged, store, run = run_folder.run / "merged", run_folder.coarse("store"), run_folder.coarse("run")
    chosen = _chosen(config.coarse, recipe, run_folder.recipe("coarse"), store)
    cases = counts.labeled + (min(counts.unlabeled, config.pseudo.select))
    prepare = prepare_stage("prepare-coarse", merged, store, chosen, config.machine.workers, cases)
    stages = [replace(prepare, after=("merge",))]
    options: tuple[str, ...] = ()
    if recipe.cutmix:
        stages.append(_objects(config, counts, run_folder, chosen))
        options = ("--objects", str(run_folder.coarse("objects")))
    read = tuple(stage.name for stage in stages)
    export = export_stage("export-coarse", run, store, run_folder.coarse("weights"))
    return [
        *stages,
        replace(fit_stage("fit-coarse", store, run, chosen, config.machine, options), after=read),
        replace(export, after=("fit-coarse",)),
    ]


def _chosen(model: Model, recipe: TrainingRecipe, file: Path, store: Path) -> Chosen:
    normalization = usual_normalization(model, recipe, store)
    return Chosen(model=model, recipe=recipe, file=file, normalization=normalization)


def _objects(config: Config, counts: Counts, run_folder: RunFolder, chosen: Chosen) -> Stage:
    """Cut out the tumors that CutMix pastes."""
    merged, store, objects = run_folder.run / "merged", run_folder.coarse("store"), run_folder.coarse("objects")
    return Stage(
        name="objects",
        command=(TRAIN, "objects", str(merged), str(objects), "--store", str(store), *chosen.options),
        running=("--replace", "--workers", str(config.machine.workers)),
        workers=config.machine.workers,
        settings=chosen.voxels,
        after=("merge", "prepare-coarse"),
        output=objects,
        proof="sheet.png",
        leftovers="kept",
        counted=(SEALED, counts.tumors),
        pictures={"objects.png": "sheet.png"},
    )
