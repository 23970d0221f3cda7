"""Tumor objects cut out of the cases that train (docs/paper.md, Tumor objects)."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from flare_infer.errors import SpecError, UsageError
from flare_infer.files.record import plain_fields
from flare_infer.geometry import Box, Shape, Spacing
from flare_infer.label_set import LabelSet
from flare_infer.model.spec import ModelSpec
from flare_infer.segment.preprocess import preprocess
from flare_infer.volume.orient import turn
from flare_infer.volume.volume import crop
from train.dataset.cases import Case, expert_cases
from train.dataset.clean import CleaningRules
from train.dataset.components import Component, components
from train.dataset.training_voxels import training_voxels
from train.differences import refuse_other_recipe, some_of
from train.problems import raise_if_any
from train.store.prepare import air_on_model_grid, case_key, grid_key, labels_on_model_grid, mark_air
from train.store.sealed import UNSAID
from train.store.tumor_objects import (
    TumorObject,
    has_objects,
    object_name,
    prune_objects,
    recipes_of_objects,
    write_objects,
)
from train.workers import try_each


@dataclass(frozen=True, kw_only=True)
class Margins:
    """How far a tumor object reaches beyond its tumor.

    Attributes:
        least: smallest margin in voxels along (z, y, x), on either side.
        most: largest margin in voxels along (z, y, x), on either side.
        grid: `native` counts voxels of the scan (the paper crops before it resamples), `coarse` those of the model.
        seed: seed of all margins; those of an object depend on seed, case name and number of the tumor only.
    """

    least: Shape = (8, 24, 24)
    most: Shape = (16, 32, 32)
    grid: Literal["native", "coarse"] = "native"
    seed: int = 2023

    def __post_init__(self) -> None:
        ordered = all(0 <= least <= most for least, most in zip(self.least, self.most, strict=True))
        if not ordered or self.grid not in {"native", "coarse"}:
            raise SpecError(f"margins need 0 <= least <= most and a grid of native or coarse, found {self}")


def extract_objects(
    cases: Sequence[Case],
    spec: ModelSpec,
    margins: Margins,
    folder: Path,
    progress: Callable[[], None] = lambda: None,
    workers: int = 1,
    cleaning: CleaningRules | None = None,
) -> None:
    """Write the tumor objects of every case that trains and annotates tumors; objects that exist already are kept.

    Objects of all other cases in the folder, such as validation cases, are deleted.

    Args:
        cases: all cases of the dataset; those that validate, have pseudo labels only, or do not annotate tumors are
            ignored.
        spec: specification of the model on whose grid objects are stored.
        margins: how far an object reaches beyond its tumor.
        folder: folder of all objects.
        progress: callback after each case.
        workers: number of processes.
        cleaning: rules by which labels are cleaned first; None takes tumors as they are.

    Raises:
        UsageError: if no training case annotates lesions, or the label set has none.
        ProblemsError: after all cases were tried, naming every problem.
    """
    refuse_without_lesions(spec.label_set)
    sources = tumor_cases(cases)
    if not sources:
        raise UsageError("no case that trains annotates tumors: there is no tumor object to cut out")
    prune_objects(folder, {case.name for case in sources})
    work = partial(_extract_into, spec=spec, margins=margins, folder=folder, cleaning=cleaning)
    _, problems = try_each(work, sources, workers, progress)
    raise_if_any(problems)


def refuse_other_objects(folder: Path, spec: ModelSpec, margins: Margins, cleaning: CleaningRules | None) -> None:
    """Refuse a folder that holds objects of another recipe or with other margins.

    Args:
        folder: folder of all objects.
        spec: specification of the model on whose grid objects would be stored.
        margins: how far an object would reach beyond its tumor.
        cleaning: rules by which labels would be cleaned; None for none.

    Raises:
        UsageError: if it does, naming the first differences.
    """
    recipe = {**UNSAID, **grid_key(spec, cleaning), "margins": plain_fields(margins)}
    refuse_other_recipe(folder, "objects", recipes_of_objects(folder), recipe)


def refuse_without_lesions(label_set: LabelSet) -> None:
    """Make sure that a label set has lesions.

    Raises:
        UsageError: naming its classes, if none of them is a lesion.
    """
    if not label_set.lesion_codes:
        named = some_of(label_set.names[1:], 10, ", ")
        raise UsageError(
            f"cutmix pastes lesions, and none of the classes is one ({named}); name those that are under [lesions] in "
            "labels.toml, or set cutmix = false in a --config"
        )


def tumor_cases(cases: Sequence[Case]) -> list[Case]:
    """The cases that objects are cut out of: those that train and in which an expert drew lesions."""
    return [case for case in expert_cases(list(cases)) if set(case.label_set.lesion_codes) & set(case.annotated)]


def tumor_objects_of(
    case: Case, spec: ModelSpec, margins: Margins, cleaning: CleaningRules | None = None
) -> list[TumorObject]:
    """The tumor objects of one case: one for each connected component (26 neighbors) of a lesion that cleaning leaves.

    Other tumors and organs in the box keep their labels: an object annotates the same classes as its case.

    Raises:
        UsageError: if the case validates.
        ProblemsError: naming every problem with its voxels, see `check`.
    """
    if case.validation:
        raise UsageError(f"{case.name}: a validation case; no tumor object may come from it")
    voxels = training_voxels(case, cleaning)
    image, _ = turn(voxels.image, spec.orientation, spec.transpose)
    labels, _ = turn(voxels.labels, spec.orientation, spec.transpose)
    air: npt.NDArray[np.bool_] | None = None
    objects = []
    for index, tumor in enumerate(_lesions(labels.array_zyx, case)):
        if air is None:
            air = air_on_model_grid(image, spec, case.annotated)
        drawn = draw_margins(margins, image.placement.spacing_mm, spec.spacing_mm, _generator(margins, case, index))
        box = tumor.box.grown(drawn, image.shape)
        # The crop is prepared as a small scan of its own: its grid is its own, as in the paper.
        image_zyx = preprocess(crop(image, box), spec, torch.device("cpu"))
        labels_zyx = labels_on_model_grid(crop(labels, box), spec)
        mark_air(labels_zyx, _sampled(air, box, image.shape, labels_zyx.shape))
        objects.append(
            TumorObject(
                name=object_name(case.name, index),
                case=case.name,
                annotated=case.annotated,
                image_zyx=image_zyx.numpy().astype(np.float16),
                labels_zyx=labels_zyx,
                code=tumor.code,
            )
        )
    return objects


def _lesions(labels_zyx: npt.NDArray[np.uint8], case: Case) -> Iterator[Component]:
    """The components of each class of lesions that a case annotates."""
    for code in case.label_set.lesion_codes:
        if code in case.annotated:
            yield from components(labels_zyx, code)


def draw_margins(
    margins: Margins, native_mm: Spacing, model_mm: Spacing, rng: np.random.Generator
) -> tuple[int, int, int]:
    """Draw the margins of one object; both ends of the range are possible.

    Args:
        margins: the range.
        native_mm: spacing of the scan along (z, y, x).
        model_mm: spacing of the model along (z, y, x).
        rng: the object's own generator.

    Returns:
        margins in voxels of the scan along (z, y, x), the same on both sides.
    """
    drawn = [int(rng.integers(low, high, endpoint=True)) for low, high in zip(margins.least, margins.most, strict=True)]
    if margins.grid == "coarse":
        drawn = [round(count * model / own) for count, model, own in zip(drawn, model_mm, native_mm, strict=True)]
    return drawn[0], drawn[1], drawn[2]


def _sampled(mask_zyx: npt.NDArray[np.bool_], box: Box, native: Shape, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Sample a mask of the whole scan on the model's grid at the voxel centers of a crop's own grid."""
    indices = []
    for part, whole, coarse, length in zip(box, native, mask_zyx.shape, shape, strict=True):
        centers = part.start + (np.arange(length) + 0.5) * (part.stop - part.start) / length
        indices.append(np.minimum((centers * coarse / whole).astype(np.intp), coarse - 1))
    sampled: npt.NDArray[np.bool_] = mask_zyx[np.ix_(*indices)]
    return sampled


def _generator(margins: Margins, case: Case, index: int) -> np.random.Generator:
    return np.random.default_rng((margins.seed, zlib.crc32(case.name.encode()), index))


def _extract_into(case: Case, spec: ModelSpec, margins: Margins, folder: Path, cleaning: CleaningRules | None) -> None:
    key: dict[str, Any] = {**case_key(case, spec, cleaning), "margins": plain_fields(margins)}
    if not has_objects(folder, case.name, key):
        write_objects(folder, case.name, tumor_objects_of(case, spec, margins, cleaning), key)
