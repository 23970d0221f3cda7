"""The stages that label cases without expert labels, choose among them, and merge (section 2.2 of the paper)."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from train.dataset.clean import CleaningRules
from train.dataset.layout import dataset_files
from train.protocol.config import FINE, Config, Counts
from train.protocol.model_stages import TRAIN, predict_stage
from train.protocol.run_folder import RunFolder
from train.workflow.stage import Stage

UNCERTAINTY_FILE: Final = "uncertainty.csv"
SELECTION_FILE: Final = "selection.json"
"""What the two commands write."""


def pseudo_stages(config: Config, counts: Counts, run_folder: RunFolder) -> list[Stage]:
    """Fill in organs, predict unlabeled cases with every fine model, compare, select, merge and clean."""
    recipes, device = config.fine.recipes(), config.machine.device
    stages = []
    if counts.lacking:
        gather, filling = _gather(config, run_folder), run_folder.pseudo("filling")
        weights = run_folder.fine("weights", run_folder.first_seed)
        predict = predict_stage("predict-filling", gather.output, filling, weights, device, counts.lacking)
        stages += [gather, replace(predict, after=("gather", "export-fine"))]
    if config.data.unlabeled is not None:
        for seed in recipes:
            ending, weights = run_folder.ending(seed), run_folder.fine("weights", seed)
            name, labels = f"predict-unlabeled{ending}", run_folder.pseudo("unlabeled", seed)
            predict = predict_stage(name, config.data.unlabeled, labels, weights, device, counts.unlabeled)
            inputs = {"unlabeled images": [config.data.unlabeled]}
            stages.append(replace(predict, inputs=inputs, after=(f"export-fine{ending}",)))
        stages += [_uncertainty(config, run_folder), _select(config, run_folder)]
    stages.append(_merge(config, counts, run_folder))
    ((recipe, _),) = config.coarse.recipes(config.label_set).values()
    if recipe.label_cleaning is not None:
        stages.append(_clean(config, counts, run_folder, recipe.label_cleaning))
    return stages


def _gather(config: Config, run_folder: RunFolder) -> Stage:
    target, fill = run_folder.pseudo("to_fill"), config.pseudo.fill
    return Stage(
        name="gather",
        command=(TRAIN, "gather", str(config.data.dataset), str(target), "--fill", fill),
        settings={"fill": fill},
        inputs={"dataset": dataset_files(config.data.dataset)},
        output=target,
        proof=".",
    )


def _uncertainty(config: Config, run_folder: RunFolder) -> Stage:
    """How much the sources disagree about each unlabeled case."""
    organs, tumor = config.pseudo.organs, config.pseudo.tumor
    folder = run_folder.pseudo("uncertainty")
    own = own_sources(config)
    folders = {name: str(run_folder.pseudo("unlabeled", seed)) for name, seed in own.items()}
    options = [("--organs", source) for source in organs] + [("--tumor", source) for source in tumor]
    sources = [part for name, source in options for part in (name, folders.get(source, source))]
    foreign = dict.fromkeys(source for _, source in options if source not in own)
    others = {source: f"predictions of others {number}" for number, source in enumerate(foreign, start=1)}
    used = dict.fromkeys(own[source] for _, source in options if source in own)
    images = ["--images", str(config.data.unlabeled)]
    if not config.label_set.is_challenge:
        images += ["--labels", str(config.data.dataset)]
    return Stage(
        name="uncertainty",
        command=(TRAIN, "uncertainty", str(folder / UNCERTAINTY_FILE), *sources, *images),
        running=("--workers", str(config.machine.workers)),
        workers=config.machine.workers,
        settings={
            name: [f"seed {own[source]}" if source in own else others[source] for source in listed]
            for name, listed in (("organs", organs), ("tumor", tumor))
        },
        inputs={what: [Path(source)] for source, what in others.items()},
        after=tuple(f"predict-unlabeled{run_folder.ending(seed)}" for seed in used),
        output=folder,
        proof=UNCERTAINTY_FILE,
        tables={UNCERTAINTY_FILE: UNCERTAINTY_FILE},
    )


def own_sources(config: Config) -> dict[str, int]:
    """The seed of each fine model by its names as a source of predictions; the first has two."""
    seeds = list(config.fine.recipes())
    return {FINE: seeds[0], **{f"{FINE}-{seed}": seed for seed in seeds}}


def _select(config: Config, run_folder: RunFolder) -> Stage:
    folder = run_folder.pseudo("selection")
    count, with_tumor = config.pseudo.select, config.pseudo.with_tumor
    table = run_folder.pseudo("uncertainty") / UNCERTAINTY_FILE
    numbers = ("--count", str(count), "--with-tumor", str(with_tumor))
    return Stage(
        name="select",
        command=(TRAIN, "select", str(table), str(folder / SELECTION_FILE), *numbers),
        settings={"count": count, "with_tumor": with_tumor},
        after=("uncertainty",),
        output=folder,
        proof=SELECTION_FILE,
        tables={SELECTION_FILE: SELECTION_FILE},
    )


def _merge(config: Config, counts: Counts, run_folder: RunFolder) -> Stage:
    """Experts' labels, and the first fine model's where there are none."""
    first = next(iter(config.fine.recipes()))
    merged = run_folder.run / "merged"
    arguments, after = [str(config.data.dataset), str(merged)], []
    if counts.lacking + counts.unlabeled:
        arguments += ["--weights", str(run_folder.fine("weights", first))]
        after.append(f"export-fine{run_folder.ending(first)}")
    inputs = {"dataset": dataset_files(config.data.dataset)}
    if counts.lacking:
        arguments += ["--organs", str(run_folder.pseudo("filling")), "--fill", config.pseudo.fill]
        after.append("predict-filling")
    if config.data.unlabeled is not None:
        arguments += ["--images", str(config.data.unlabeled), "--labels", str(run_folder.pseudo("unlabeled", first))]
        arguments += ["--selection", str(run_folder.pseudo("selection") / SELECTION_FILE)]
        after += [f"predict-unlabeled{run_folder.ending(first)}", "select"]
        inputs["unlabeled images"] = [config.data.unlabeled]
    cases = counts.labeled + min(counts.unlabeled, config.pseudo.select)
    return Stage(
        name="merge",
        command=(TRAIN, "merge", *arguments),
        running=("--workers", str(config.machine.workers)),
        workers=config.machine.workers,
        settings={"fill": config.pseudo.fill if counts.lacking else "none"},
        inputs=inputs,
        after=tuple(after),
        output=merged,
        proof="annotated.json",
        leftovers="kept",
        counted=("labelsTr/*", cases),
    )


def _clean(config: Config, counts: Counts, run_folder: RunFolder, cleaning: CleaningRules) -> Stage:
    """What cleaning finds, as a table and a sheet; preparing applies the same rules to the cases that train."""
    cleaned, cases = run_folder.run / "cleaned", counts.labeled + min(counts.unlabeled, config.pseudo.select)
    organs = ",".join(str(code) for code in cleaning.organs_needed)
    rules = ("--smallest", str(cleaning.smallest_voxels), "--far", str(cleaning.far_mm), "--organs", organs)
    return Stage(
        name="clean",
        command=(TRAIN, "clean", str(run_folder.run / "merged"), str(cleaned), *rules),
        running=("--workers", str(config.machine.workers)),
        workers=config.machine.workers,
        settings={"cleaning": asdict(cleaning)},
        after=("merge",),
        output=cleaned,
        proof="annotated.json",
        counted=("labelsTr/*", cases),
        tables={"cleaning.csv": "findings.csv", "cleaning-not-checked.csv": "not_checked.csv"},
        pictures={"cleaning.png": "sheet.png"},
    )
