"""The stages of the protocol of the shipped weights, in order.

::

    RUN/config.toml, versions.json, stamps/, logs/     as for the paper's protocol, see `run_folder`
    RUN/recipes/       what is changed in recipes, cohorts, averages and what is known of cases: a file each
    RUN/painted/NAME   painted cohorts
    RUN/first/         store, run and weights of the training that sees painted CTs alone
    RUN/second/NAME/   dataset, store, run and weights of each second training
    RUN/teacher        average of those on labels of experts
    RUN/pseudo_labels  its label maps of the unlabeled CTs
    RUN/weights        what this is all for

A first training learns from CTs painted on real label maps, where all classes are known: shapes and places. Second ones
go on from there with real CTs, for their tissue, and with painted ones: a class that hardly any real CT annotates would
otherwise be free to win wherever nothing is annotated.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from train.export.average import Average
from train.protocol.assemble import ORIGINS_FILE
from train.protocol.lite_config import FIRST, STUDENT, LiteConfig, LiteCounts
from train.protocol.model_stages import TRAIN, Chosen, export_stage, fit_stage, predict_stage, prepare_stage
from train.synth.cohort import NOISE_FILE
from train.workflow.stage import Stage


def lite_stages(config: LiteConfig, counts: LiteCounts) -> list[Stage]:
    """All stages; each comes after those it reads from.

    Args:
        config: what to do, checked.
        counts: of the cases it finds, for progress.
    """
    unlabeled, labels = config.data.unlabeled, _labels(config)
    teacher = config.run / "teacher"
    predict = predict_stage("predict-unlabeled", unlabeled, labels, teacher, config.machine.device, counts.unlabeled)
    return [
        *(_paint(config, name) for name in config.cohorts),
        *_training(config, FIRST, config.cohorts[FIRST].cases),
        *(stage for name in config.experts for stage in _second(config, counts, name)),
        _average(config, "teacher", config.teacher),
        replace(predict, inputs={"unlabeled images": [unlabeled]}, after=("average-teacher",)),
        *_second(config, counts, STUDENT),
        _average(config, "weights", config.shipped),
    ]


def lite_files(config: LiteConfig) -> dict[Path, Mapping[str, Any]]:
    """The TOML files that the commands name."""
    models = {_file(config, name): _chosen(config, name).model.change for name in (FIRST, "second")}
    cohorts = {_file(config, f"cohort-{name}"): asdict(cohort.plan) for name, cohort in config.cohorts.items()}
    averages = {"teacher": config.teacher, "weights": config.shipped}
    mixed = {_file(config, f"average-{name}"): asdict(average) for name, average in averages.items()}
    return {**models, **cohorts, **mixed, _file(config, "cases"): asdict(config.cases)}


def _file(config: LiteConfig, name: str) -> Path:
    return config.run / "recipes" / f"{name}.toml"


def _place(config: LiteConfig, training: str, kind: str) -> Path:
    """A folder of a training: dataset, store, run or weights."""
    place = config.run / FIRST if training == FIRST else config.run / "second" / training
    return place / kind


def _labels(config: LiteConfig) -> Path:
    return config.run / "pseudo_labels"


def _painted(config: LiteConfig, cohort: str) -> Path:
    return config.run / "painted" / cohort


def _chosen(config: LiteConfig, training: str) -> Chosen:
    name = FIRST if training == FIRST else "second"
    model = config.first if training == FIRST else config.second
    ((recipe, change),) = model.recipes().values()
    # The second training goes on from the first one's weights: both need the same numbers, the recipe's.
    normalization = "recipe" if model.normalization == "auto" else model.normalization
    return Chosen(
        model=replace(model, change=change), recipe=recipe, file=_file(config, name), normalization=normalization
    )


def _paint(config: LiteConfig, name: str) -> Stage:
    cohort, folder = config.cohorts[name], _painted(config, name)
    on_maps = not cohort.invented and config.data.maps is not None
    maps = ("--maps", str(config.data.maps)) if on_maps else ()
    return Stage(
        name=f"paint-{name}",
        command=(TRAIN, "paint", str(folder), "--plan", str(_file(config, f"cohort-{name}")), *maps),
        settings={"plan": asdict(cohort.plan)},
        inputs={"label maps": [config.data.maps]} if on_maps and config.data.maps else {},
        output=folder,
        proof=NOISE_FILE,
        counted=("labelsTr/*", cohort.cases),
    )


def _training(config: LiteConfig, name: str, cases: int) -> list[Stage]:
    """Prepare, train, export: the first training, or a second one, which begins with the weights of the first."""
    chosen = _chosen(config, name)
    store, run, weights = (_place(config, name, kind) for kind in ("store", "run", "weights"))
    dataset, source = _painted(config, FIRST), f"paint-{FIRST}"
    after: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    if name != FIRST:
        dataset, source, after = _place(config, name, "dataset"), f"dataset-{name}", (f"export-{FIRST}",)
        start = ("--start", str(_place(config, FIRST, "weights")))
    prepare = prepare_stage(f"prepare-{name}", dataset, store, chosen, config.machine.workers, cases)
    fit = fit_stage(f"fit-{name}", store, run, chosen, config.machine, start)
    return [
        replace(prepare, after=(source,)),
        replace(fit, after=(prepare.name, *after)),
        replace(export_stage(f"export-{name}", run, store, weights), after=(fit.name,)),
    ]


def _second(config: LiteConfig, counts: LiteCounts, name: str) -> list[Stage]:
    """Assemble the dataset of a second training, and train."""
    student = name == STUDENT
    cohorts = config.student if student else config.experts[name]
    target = _place(config, name, "dataset")
    cases = counts.experts + sum(config.cohorts[cohort].cases for cohort in cohorts) + student * counts.student
    options = [part for cohort in cohorts for part in ("--painted", str(_painted(config, cohort)))]
    inputs, after = {"experts' cases": [config.data.experts]}, [f"paint-{cohort}" for cohort in cohorts]
    if student:
        options += ["--unlabeled", str(config.data.unlabeled), "--labels", str(_labels(config))]
        inputs["unlabeled images"] = [config.data.unlabeled]
        after.append("predict-unlabeled")
    known = ("--config", str(_file(config, "cases")))
    dataset = Stage(
        name=f"dataset-{name}",
        command=(TRAIN, "assemble", str(config.data.experts), str(target), *known, *options),
        settings={"cases": asdict(config.cases)},
        inputs=inputs,
        after=tuple(after),
        output=target,
        proof=ORIGINS_FILE,
        counted=("labelsTr/*", cases),
    )
    return [dataset, *_training(config, name, cases)]


def _average(config: LiteConfig, name: str, average: Average) -> Stage:
    """One network of several trainings; where the student is one of them, it says which labels were a model's."""
    target = config.run / name
    models = [str(_place(config, training, "weights")) for training in average.shares]
    student = STUDENT in average.shares
    origins = ("--dataset", str(_place(config, STUDENT, "dataset"))) if student else ()
    return Stage(
        name=f"average-{name}",
        command=(TRAIN, "average", str(target), *models, "--config", str(_file(config, f"average-{name}")), *origins),
        settings={"average": asdict(average)},
        after=(*(f"export-{training}" for training in average.shares), *((f"dataset-{STUDENT}",) if student else ())),
        output=target,
        proof="model.json",
    )
