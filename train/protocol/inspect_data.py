"""Whether everything a pipeline names is there: all that is wrong is told at once, before anything starts."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from flare_infer.errors import FlareError, UsageError
from flare_infer.formats.volume_io import find_images
from flare_infer.label_set import LabelSet
from train.dataset.cases import Case, cases_and_problems, label_set_of_cases, training_cases
from train.differences import some_of
from train.problems import collected, raise_if_any, refuse_inside
from train.protocol.config import Config, Counts, Machine, Model, Test
from train.protocol.pseudo_stages import own_sources
from train.pseudo.merge_plan import is_filled


def inspect_data(config: Config) -> Counts:
    """Count the cases of a pipeline.

    Voxels are not read: preparing does that, and names what it finds.

    Raises:
        ProblemsError: naming everything that is missing or contradicts itself.
    """
    cases, problems = cases_and_problems(config.data.dataset)
    label_set = label_set_of_cases(cases)
    problems += _label_set_problems(config, label_set)
    unlabeled = _images(config.data.unlabeled, problems)
    problems += _unlabeled_problems(config, cases, unlabeled)
    problems += _source_problems(config, unlabeled)
    tests = {test.name: _test_cases(test, problems) for test in config.test}
    problems += machine_problems(config.machine, {"fine": config.fine, "coarse": config.coarse})
    problems += place_problems(config.run, config.data.dataset, config.data.unlabeled)
    raise_if_any(problems)
    return Counts(
        labeled=len(cases),
        lacking=sum(is_filled(case, config.pseudo.fill) for case in cases),
        tumors=sum(bool(set(label_set.lesion_codes) & set(case.annotated)) for case in training_cases(cases)),
        unlabeled=len(unlabeled),
        tests=tests,
    )


def _label_set_problems(config: Config, label_set: LabelSet) -> Iterator[str]:
    """What another label set than the challenge's does not allow."""
    if label_set.is_challenge:
        return
    for test in config.test:
        if test.labels is not None and test.mode == "official":
            yield f'test {test.name}: official mode needs the challenge\'s classes, not these; set mode = "fixed"'
    ((recipe, _),) = config.coarse.recipes(label_set).values()
    if recipe.cutmix and not label_set.lesion_codes:
        yield "coarse: cutmix pastes lesions, and none of the classes is one; set cutmix = false in coarse.change"


def place_problems(run: Path, *inputs: Path | None) -> Iterator[str]:
    """What speaks against a place of a run's folder: that it lies in a folder that is read."""
    try:
        refuse_inside(run, *inputs)
    except UsageError as error:
        yield str(error)


def _images(folder: Path | None, problems: list[str]) -> Collection[str]:
    if folder is None:
        return ()
    found: Collection[str] = ()
    with collected(problems):
        found = find_images(folder).keys()
    return found


def _unlabeled_problems(config: Config, cases: list[Case], unlabeled: Collection[str]) -> Iterator[str]:
    both = sorted({case.name for case in cases} & set(unlabeled))
    if both:
        listed = some_of(both, between=", ")
        yield f"{config.data.unlabeled}: {listed}: labeled in {config.data.dataset}, too; keep one of them"
    ((recipe, _),) = config.coarse.recipes().values()
    if config.data.unlabeled is not None and not recipe.unlabeled:
        yield "coarse: this recipe leaves unlabeled cases out; set unlabeled = true in coarse.change, or name none"
    if unlabeled and config.pseudo.select > len(unlabeled):
        yield f"pseudo.select: {config.pseudo.select} of {len(unlabeled)} unlabeled cases; select at most all of them"


def _source_problems(config: Config, unlabeled: Collection[str]) -> Iterator[str]:
    own = list(own_sources(config))
    for name, sources in (("organs", config.pseudo.organs), ("tumor", config.pseudo.tumor)):
        if config.data.unlabeled is not None and len(sources) < 2:
            yield (
                f"pseudo.{name}: uncertainty compares at least two sources, found {len(sources)}; name another team's "
                "predictions, or give fine several seeds"
            )
        for source in sources:
            if source not in own:
                yield from _folder_problems(f"pseudo.{name}", Path(source), unlabeled, own)


def _folder_problems(at: str, folder: Path, unlabeled: Collection[str], own: list[str]) -> Iterator[str]:
    if not folder.is_dir():
        nearest = difflib.get_close_matches(folder.name, own, n=1, cutoff=0.0)[0]
        yield f"{at}: {folder}: neither a folder nor one of {', '.join(own)} (the nearest is {nearest})"
        return
    try:
        missing = sorted(set(unlabeled) - find_images(folder).keys())
    except FlareError as error:
        yield f"{at}: {error}"
        return
    if missing:
        yield f"{at}: {folder}: no label map of {some_of(missing, between=', ')}"


def _test_cases(test: Test, problems: list[str]) -> int:
    images = _images(test.images, problems)
    if test.labels is not None and not test.labels.is_dir():
        problems.append(f"test {test.name}: {test.labels}: no such folder of expert label maps")
    return len(images)


def machine_problems(machine: Machine, models: Mapping[str, Model]) -> Iterator[str]:
    """Why models, by their names in the configuration, cannot be trained on a machine."""
    from flare_infer.backends.device import choose_device

    try:
        choose_device(machine.device)
    except UsageError as error:
        yield f"machine.device: {error}"
    for name, model in models.items():
        batch = next(iter(model.recipes().values()))[0].batch
        if batch % machine.gpus:
            yield (
                f"machine.gpus: {machine.gpus} processes cannot share the {name} model's batch of {batch}; give "
                f"a number that divides it, or set batch in {name}.change"
            )
