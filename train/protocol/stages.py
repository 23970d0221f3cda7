"""The stages of the paper's protocol, in order (section 3.2, "Training protocols")."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from flare_infer.backends.device import choose_device
from train.dataset.layout import dataset_files
from train.fit.checkpoint import CHECKPOINT_FILE
from train.fit.matching_store import recipe_key
from train.protocol.config import Config, Model
from train.protocol.counts import Counts
from train.protocol.pseudo_stages import pseudo_stages
from train.protocol.run_folder import Places
from train.protocol.test_stages import test_stages
from train.recipes.recipe import TrainingRecipe
from train.record.journal import JOURNAL_FILE
from train.workflow import workload as amount
from train.workflow.stage import Stage
from train.workflow.workload import Amount

_TRAIN: Final = "flare-train"
_SEALED: Final = "*/seal.json"


def pipeline_stages(config: Config, counts: Counts) -> list[Stage]:
    """All stages; each comes after those it reads from.

    Args:
        config: what to do, checked.
        counts: of the cases it finds, for progress and estimates.
    """
    places = Places(run=config.run, first_seed=next(iter(config.fine.recipes())))
    on_cpu = choose_device(config.machine.device).type == "cpu"
    flops = amount.CPU_FLOPS if on_cpu else amount.GPU_FLOPS
    # Without a case to label there is nothing that a fine model would be for.
    fine = _fine_stages(config, counts, places, flops) if counts.lacking + counts.unlabeled else []
    return [
        *fine,
        *pseudo_stages(config, counts, places, flops),
        *_coarse_stages(config, counts, places, flops),
        *test_stages(config, counts, places, flops),
    ]


def recipe_files(config: Config) -> dict[Path, Mapping[str, Any]]:
    """What is changed in recipes, by the file that the commands name."""
    recipes = config.fine.recipes()
    places = Places(run=config.run, first_seed=next(iter(recipes)))
    files: dict[Path, Mapping[str, Any]] = {places.recipe("fine", seed): made[1] for seed, made in recipes.items()}
    ((_, change),) = config.coarse.recipes().values()
    return files | {places.recipe("coarse"): change}


def _fine_stages(config: Config, counts: Counts, places: Places, flops: float) -> list[Stage]:
    recipes = config.fine.recipes()
    first = next(iter(recipes))
    inputs = {"dataset": dataset_files(config.data.dataset)}
    store = places.fine("store")
    chosen = ("--recipe", config.fine.recipe, "--config", str(places.recipe("fine", first)))
    prepare = _prepare(config, "fine", config.data.dataset, store, chosen, recipes[first][0], counts.labeled)
    stages = [dataclasses.replace(prepare, inputs=inputs)]
    # The others are sources of uncertainty, for which there must be unlabeled cases.
    used = recipes if counts.unlabeled else {first: recipes[first]}
    for seed, (recipe, _) in used.items():
        ending = places.ending(seed)
        chosen = ("--recipe", config.fine.recipe, "--config", str(places.recipe("fine", seed)))
        run, weights = places.fine("run", seed), places.fine("weights", seed)
        work = amount.of_fit(recipe, flops, config.machine.gpus, counts.validation)
        arguments = (str(store), str(run), *chosen)
        stages.append(_fit(config, f"fit-fine{ending}", ("prepare-fine",), arguments, recipe, work))
        stages.append(_export(f"export-fine{ending}", f"fit-fine{ending}", run, store, weights, recipe))
    return stages


def _coarse_stages(config: Config, counts: Counts, places: Places, flops: float) -> list[Stage]:
    ((recipe, _),) = config.coarse.recipes().values()
    merged, store, run = places.run / "merged", places.coarse("store"), places.coarse("run")
    chosen = ("--recipe", config.coarse.recipe, "--config", str(places.recipe("coarse")))
    workers = ("--replace", "--workers", str(config.machine.workers))
    cases = counts.labeled + (min(counts.unlabeled, config.pseudo.select))
    prepare = _prepare(config, "coarse", merged, store, chosen, recipe, cases)
    stages = [dataclasses.replace(prepare, after=("merge",))]
    after: tuple[str, ...] = ("prepare-coarse",)
    arguments: tuple[str, ...] = (str(store), str(run), *chosen)
    if recipe.cutmix:
        objects = places.coarse("objects")
        stages.append(
            Stage(
                name="objects",
                command=(_TRAIN, "objects", str(merged), str(objects), "--store", str(store), *chosen),
                running=workers,
                settings=_voxels(config.coarse, recipe),
                after=("merge", "prepare-coarse"),
                output=objects,
                proof="sheet.png",
                leftovers="kept",
                counted=(_SEALED, counts.tumors),
                pictures={"objects.png": "sheet.png"},
                amount=amount.of_objects(counts.tumors, config.machine.workers),
            )
        )
        after, arguments = ("prepare-coarse", "objects"), (*arguments, "--objects", str(objects))
    work = amount.of_fit(recipe, flops, config.machine.gpus, counts.validation)
    stages.append(_fit(config, "fit-coarse", after, arguments, recipe, work))
    stages.append(_export("export-coarse", "fit-coarse", run, store, places.coarse("weights"), recipe))
    return stages


def _prepare(
    config: Config, model: str, dataset: Path, store: Path, chosen: tuple[str, ...], recipe: TrainingRecipe, cases: int
) -> Stage:
    kind = {"fine": config.fine, "coarse": config.coarse}[model]
    normalization = ("--normalization", kind.normalization)
    return Stage(
        name=f"prepare-{model}",
        command=(_TRAIN, "prepare", str(dataset), str(store), *chosen, *normalization),
        # What is there is the pipeline's own: whatever a changed recipe left is made anew, the rest is kept.
        running=("--replace", "--workers", str(config.machine.workers)),
        settings=_voxels(kind, recipe),
        output=store,
        proof="store.json",
        leftovers="kept",
        counted=(_SEALED, cases),
        amount=amount.of_prepare(cases, recipe.spec, config.machine.workers),
    )


def _fit(
    config: Config, name: str, after: tuple[str, ...], arguments: tuple[str, ...], recipe: TrainingRecipe, work: Amount
) -> Stage:
    """Training; the folder of the run is the second argument."""
    gpus = config.machine.gpus
    several = ("torchrun", "--standalone", "--nproc-per-node", str(gpus), "-m", "train")
    settings = dataclasses.asdict(recipe)
    del settings["validation"]  # a run may go on with other numbers: they change nothing that is learned
    return Stage(
        name=name,
        command=(*((_TRAIN,) if gpus == 1 else several), "fit", *arguments),
        running=("--device", config.machine.device),
        settings={"recipe": settings},
        after=after,
        output=Path(arguments[1]),
        proof=CHECKPOINT_FILE,
        leftovers="continued",
        counted=(JOURNAL_FILE, recipe.steps),
        amount=work,
    )


def _export(name: str, after: str, run: Path, store: Path, weights: Path, recipe: TrainingRecipe) -> Stage:
    return Stage(
        name=name,
        command=(_TRAIN, "export", str(run), str(store), str(weights)),
        after=(after,),
        output=weights,
        proof="model.safetensors",
        amount=amount.of_export(recipe),
    )


def _voxels(model: Model, recipe: TrainingRecipe) -> dict[str, Any]:
    """What prepared voxels depend on."""
    grid = recipe_key(recipe)
    if model.normalization == "dataset":
        del grid["normalization"]
    return {"grid": grid, "normalization": model.normalization}
