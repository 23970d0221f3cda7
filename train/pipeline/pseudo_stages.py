"""The stages that label cases without expert labels, choose among them, and merge (section 2.2 of the paper)."""

from dataclasses import asdict
from pathlib import Path
from typing import Final

from train.pipeline import amount
from train.pipeline.config import FINE, Config
from train.pipeline.counts import Counts
from train.pipeline.places import Places
from train.pipeline.stage import Stage

_TRAIN: Final = "flare-train"
UNCERTAINTY_FILE: Final = "uncertainty.csv"
SELECTION_FILE: Final = "selection.json"


def pseudo_stages(config: Config, counts: Counts, places: Places, flops: float) -> list[Stage]:
    """Gather the images to label, predict them with every fine model, compare, select, merge and clean."""
    stages = [_gather(config, counts, places)]
    stages += _predictions(config, counts, places, flops)
    if config.data.unlabeled is not None:
        stages += [_uncertainty(config, counts, places), _select(config, places)]
    stages.append(_merge(config, counts, places))
    ((recipe, _),) = config.coarse.recipes().values()
    del recipe
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
