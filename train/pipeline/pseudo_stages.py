"""The stages that label cases without expert labels, choose among them, and merge (section 2.2 of the paper)."""

from dataclasses import asdict
from pathlib import Path
from typing import Final

from train.data.clean import Cleaning
from train.pipeline import amount
from train.pipeline.config import FINE, Config
from train.pipeline.counts import Counts
from train.pipeline.places import Places
from train.pipeline.stage import Stage

_TRAIN: Final = "flare-train"
UNCERTAINTY_FILE: Final = "uncertainty.csv"
SELECTION_FILE: Final = "selection.json"
"""What the two commands write."""


def pseudo_stages(config: Config, counts: Counts, places: Places, flops: float) -> list[Stage]:
    """Gather the images to label, predict them with every fine model, compare, select, merge and clean."""
    stages = [_gather(config, counts, places)]
    stages += _predictions(config, counts, places, flops)
    if config.data.unlabeled is not None:
        stages += [_uncertainty(config, counts, places), _select(config, places)]
    stages.append(_merge(config, counts, places))
    ((recipe, _),) = config.coarse.recipes().values()
    if recipe.label_cleaning is not None:
        stages.append(_clean(config, counts, places, recipe.label_cleaning))
    return stages


def source_folder(config: Config, places: Places, source: str) -> Path:
    """The label maps of a source: of one of our fine models, or a folder of others."""
    for seed in config.fine.recipes():
        if source in (FINE, f"{FINE}-{seed}"):
            return places.pseudo("labels", seed)
    return Path(source)


def _gather(config: Config, counts: Counts, places: Places) -> Stage:
    unlabeled = () if config.data.unlabeled is None else ("--unlabeled", str(config.data.unlabeled))
    inputs = {"dataset": config.data.dataset}
    if config.data.unlabeled is not None:
        inputs["unlabeled images"] = config.data.unlabeled
    return Stage(
        name="gather",
        command=(_TRAIN, "gather", str(config.data.dataset), str(places.pseudo("images")), *unlabeled),
        inputs=inputs,
        output=places.pseudo("images"),
        proof=".",
        amount=amount.of_label_maps(0, 1),
    )


def _predictions(config: Config, counts: Counts, places: Places, flops: float) -> list[Stage]:
    images, cases = places.pseudo("images"), counts.lacking + counts.unlabeled
    stages = []
    for seed, (recipe, _) in config.fine.recipes().items():
        labels, weights = places.pseudo("labels", seed), places.fine("weights", seed)
        stages.append(
            Stage(
                name=f"predict-fine{places.ending(seed)}",
                command=("flare-infer", "predict", str(images), str(labels), "--weights", str(weights)),
                running=("--device", config.machine.device),
                after=("gather", f"export-fine{places.ending(seed)}"),
                output=labels,
                proof="report.json",
                leftovers="kept",
                counted=("*.nii.gz", cases),
                amount=amount.of_predict(cases, recipe.spec, flops),
            )
        )
    return stages


def _uncertainty(config: Config, counts: Counts, places: Places) -> Stage:
    organs, tumor = config.pseudo.organs, config.pseudo.tumor
    folder = places.pseudo("uncertainty")
    options = [("--organs", source) for source in organs] + [("--tumor", source) for source in tumor]
    arguments = [part for name, source in options for part in (name, str(source_folder(config, places, source)))]
    others = {f"{name[2:]} predictions of {source}": Path(source) for name, source in options if not is_own(source)}
    return Stage(
        name="uncertainty",
        command=(_TRAIN, "uncertainty", str(config.data.unlabeled), str(folder / UNCERTAINTY_FILE), *arguments),
        running=("--workers", str(config.machine.workers)),
        settings={"organs": _roles(organs), "tumor": _roles(tumor)},
        inputs=others,
        after=_predicted(config, places, [*organs, *tumor]),
        output=folder,
        proof=UNCERTAINTY_FILE,
        tables={UNCERTAINTY_FILE: UNCERTAINTY_FILE},
        amount=amount.of_comparison(counts.unlabeled, len(organs) + len(tumor), config.machine.workers),
    )


def _select(config: Config, places: Places) -> Stage:
    folder = places.pseudo("selection")
    count, with_tumor = config.pseudo.select, config.pseudo.with_tumor
    table = places.pseudo("uncertainty") / UNCERTAINTY_FILE
    numbers = ("--count", str(count), "--with-tumor", str(with_tumor))
    return Stage(
        name="select",
        command=(_TRAIN, "select", str(table), str(folder / SELECTION_FILE), *numbers),
        settings={"count": count, "with_tumor": with_tumor},
        after=("uncertainty",),
        output=folder,
        proof=SELECTION_FILE,
        tables={SELECTION_FILE: SELECTION_FILE},
    )


def _merge(config: Config, counts: Counts, places: Places) -> Stage:
    merged = places.run / "merged"
    organs = source_folder(config, places, FINE)
    arguments = [str(config.data.dataset), str(merged), "--tumor-only", str(organs)]
    after = list(_predicted(config, places, [FINE]))
    inputs = {"dataset": config.data.dataset}
    if config.data.unlabeled is not None:
        chosen = config.pseudo.organs[0]
        arguments += ["--unlabeled", str(config.data.unlabeled), "--selection"]
        arguments += [
            str(places.pseudo("selection") / SELECTION_FILE),
            "--labels",
            str(source_folder(config, places, chosen)),
        ]
        after += ["select", *_predicted(config, places, [chosen])]
        inputs["unlabeled images"] = config.data.unlabeled
    cases = counts.labeled + min(counts.unlabeled, config.pseudo.select)
    return Stage(
        name="merge",
        command=(_TRAIN, "merge", *arguments),
        running=("--workers", str(config.machine.workers)),
        inputs=inputs,
        after=tuple(dict.fromkeys(after)),
        output=merged,
        proof="annotated.json",
        counted=("labelsTr/*", cases),
        amount=amount.of_label_maps(cases, config.machine.workers),
    )


def _clean(config: Config, counts: Counts, places: Places, cleaning: Cleaning) -> Stage:
    """What cleaning finds, as a table and a sheet; preparing applies the same rules to the cases that train."""
    cleaned, cases = places.run / "cleaned", counts.labeled + min(counts.unlabeled, config.pseudo.select)
    organs = ",".join(str(code) for code in cleaning.organs_needed)
    rules = ("--smallest", str(cleaning.smallest_voxels), "--far", str(cleaning.far_mm), "--organs", organs)
    return Stage(
        name="clean",
        command=(_TRAIN, "clean", str(places.run / "merged"), str(cleaned), *rules),
        running=("--workers", str(config.machine.workers)),
        settings={"cleaning": asdict(cleaning)},
        after=("merge",),
        output=cleaned,
        proof="annotated.json",
        counted=("labelsTr/*", cases),
        tables={"cleaning.csv": "findings.csv", "cleaning-not-checked.csv": "not_checked.csv"},
        pictures={"cleaning.png": "sheet.png"},
        amount=amount.of_label_maps(cases, config.machine.workers),
    )


def is_own(source: str) -> bool:
    """Whether a source is one of our own fine models; a configuration's other sources are absolute places."""
    return not Path(source).is_absolute()


def _roles(sources: tuple[str, ...]) -> list[str]:
    """Sources in their order, without the places of others, which their files stand for."""
    return [source if is_own(source) else "others" for source in sources]


def _predicted(config: Config, places: Places, sources: list[str]) -> tuple[str, ...]:
    """The stages that make the sources of our own."""
    names = []
    for source in sources:
        if is_own(source):
            folder = source_folder(config, places, source)
            seed = next(seed for seed in config.fine.recipes() if places.pseudo("labels", seed) == folder)
            names.append(f"predict-fine{places.ending(seed)}")
    return tuple(dict.fromkeys(names))
