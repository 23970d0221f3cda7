"""The samples of a run; each depends on the recipe's seed, the step and its index in the batch only.

Therefore a resumed run, or any number of workers in any order, draws the same samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from flare_infer.geometry import Box, Shape
from train.augment.chain import augmented_patch
from train.augment.cut import first_voxel
from train.augment.cutmix import draw_paste
from train.augment.patch import Patch
from train.recipes.recipe import TrainingRecipe
from train.sampling.label_types import LabelTypes
from train.sampling.sampler import CenterSampler, PatchCenter, sample_generator
from train.store.store import PreparedCase, region_of
from train.store.tumor_objects import TumorObject


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A patch to learn from.

    Attributes:
        patch: its voxels, labels and annotated classes.
        case: name of the case it was cut from.
        paste: whether a tumor was pasted; `lost` if none of the drawn positions kept a tumor voxel.
    """

    patch: Patch
    case: str
    paste: Literal["none", "pasted", "lost"] = "none"


class Samples:
    """Draws samples.

    Args:
        recipe: settings of the run.
        cases: the cases to draw from, at least one.
        objects: tumor objects to paste into cases without labeled tumors; without any, nothing is pasted.

    Raises:
        DatasetError: if the recipe's sampling needs cases that do not exist.
    """

    def __init__(self, recipe: TrainingRecipe, cases: list[PreparedCase], objects: Sequence[TumorObject] = ()) -> None:
        self._recipe = recipe
        self._centers = CenterSampler(cases, recipe.sampling, recipe.spec.patch, recipe.spec.lesion_codes)
        by_class = recipe.sampling.type_sampling == "by_class"
        self._types = None if by_class else LabelTypes(cases, recipe.sampling, recipe.batch, recipe.spec.label_set)
        self._objects = objects
        self._labels = recipe.spec.label_set
        self._kinds = frozenset(item.code for item in objects)
        self._regions: dict[str, Box | None] = {}

    @property
    def patch_size(self) -> Shape:
        """Number of voxels of every patch along (z, y, x)."""
        return self._recipe.spec.patch

    def draw(self, step: int, index: int) -> Sample:
        """Draw sample number `index` of a step."""
        recipe = self._recipe
        rng = sample_generator(recipe.seed, step, index)
        if self._types is None:
            center = self._centers.draw(rng)
        else:
            center = self._centers.draw_in(self._types.draw(recipe.seed, step)[index], rng)
        place = self._place(center)
        paste = None if place is None else draw_paste(self._fitting(center.case), *place, rng)
        patch = augmented_patch(
            center,
            recipe.augmentation,
            rng,
            size=recipe.spec.patch,
            spacing_mm=recipe.spec.spacing_mm,
            air=recipe.spec.normalization.air,
            paste=paste,
        )
        if place is None:
            return Sample(patch=patch, case=center.case.name)
        return Sample(patch=patch, case=center.case.name, paste="lost" if paste is None else "pasted")

    def _place(self, center: PatchCenter) -> tuple[Box, Box] | None:
        """Where a host may get a paste: its region, and the part of the region inside the patch for it.

        None if the case has labeled lesions or no organ that one may lie in, or the patch lies outside the region.
        """
        if center.case.locations.keys() & set(self._labels.lesion_codes) or not self._fitting(center.case):
            return None
        region = self._region(center.case)
        if region is None:
            return None
        size = self._recipe.spec.patch
        centers = region.overlap(Box.at(first_voxel(center.voxel, size), size))
        return None if centers.is_empty else (region, centers)

    def _fitting(self, case: PreparedCase) -> Sequence[TumorObject]:
        """The objects whose lesions lie in an organ that a case has."""
        present = set(case.locations)
        fitting = {code for code in self._kinds if present & set(self._labels.hosts(code))}
        return self._objects if fitting == self._kinds else [item for item in self._objects if item.code in fitting]

    def _region(self, case: PreparedCase) -> Box | None:
        """The region of a case where lesions lie, found once and then kept."""
        if case.name not in self._regions:
            self._regions[case.name] = region_of(case, self._labels)
        return self._regions[case.name]
