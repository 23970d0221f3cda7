"""The images of experts' cases whose organs the fine model is to fill in."""

from collections.abc import Mapping
from pathlib import Path

from flare_infer.errors import UsageError
from flare_infer.files.write_whole import link_or_copy
from train.dataset.cases import read_cases
from train.problems import refuse_filled, refuse_inside
from train.pseudo.merge_plan import Fill, is_filled


def gather_images(dataset: Path, fill: Fill, target: Path) -> Mapping[str, Path]:
    """Link these images into one folder, for `flare-infer predict`.

    Args:
        dataset: the labeled cases.
        fill: which of them, as for merging.
        target: folder to make; it must be empty or not there yet.

    Returns:
        the images by case name.

    Raises:
        UsageError: if the target holds something or lies inside the dataset, or there is no such case.
        ProblemsError: naming what is wrong with the dataset.
    """
    refuse_inside(target, dataset)
    refuse_filled(target)
    images = {case.name: case.image for case in read_cases(dataset) if is_filled(case, fill)}
    if not images:
        raise UsageError(f"{dataset}: no case is to be filled ({fill}); see its annotated.json")
    target.mkdir(parents=True, exist_ok=True)
    for image in images.values():
        link_or_copy(image, target / image.name)
    return images
