"""The images that the fine model is to label: those without any label, and those whose experts drew tumors only."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from flare_infer.errors import UsageError
from flare_infer.labels import ORGANS, TUMOR
from flare_infer.volume_io import find_images
from train.data.cases import Case, read_cases, training_cases


def lacking_organs(cases: Iterable[Case]) -> list[Case]:
    """The cases that train, annotate tumors, and lack an organ: a model fills it in (method-facts 18)."""
    return [
        case
        for case in training_cases(list(cases))
        if TUMOR in case.annotated and not set(ORGANS) <= set(case.annotated)
    ]


def gather_images(dataset: Path, unlabeled: Path | None, target: Path) -> Mapping[str, Path]:
    """Link the images to label into one folder, for `flare-infer predict`.

    Args:
        dataset: the labeled cases.
        unlabeled: folder of CTs without labels, if there are some.
        target: folder to make; it must be empty or not there yet.

    Returns:
        the images by case name.

    Raises:
        UsageError: if the target holds something, no image is to be labeled, or a case is labeled and unlabeled.
        ProblemsError: naming what is wrong with the dataset.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target}: expected a folder that is empty or not there yet; nothing is overwritten")
    cases = read_cases(dataset)
    images = {case.name: case.image for case in lacking_organs(cases)}
    if unlabeled is not None:
        found = find_images(unlabeled)
        both = sorted(found.keys() & {case.name for case in cases})
        if both:
            raise UsageError(f"{unlabeled}: {both[0]} is labeled in {dataset}, too; keep one of them")
        images |= found
    if not images:
        raise UsageError(f"{dataset}: no image is to be labeled: no case lacks organs beside its tumors")
    target.mkdir(parents=True, exist_ok=True)
    for image in images.values():
        (target / image.name).symlink_to(image.resolve())
    return images
