"""From a drawn center to an augmented patch."""

from dataclasses import dataclass, field, replace

import numpy as np

from flare_infer.geometry import Shape, Spacing
from train.augment.cut import cut_patch
from train.augment.cutmix import Paste
from train.augment.intensity import IntensityAugmentation, apply_intensity, draw_intensity
from train.augment.patch import Patch
from train.augment.spatial import SpatialAugmentation, draw_spatial
from train.sampling.sampler import PatchCenter


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """All random changes of a patch."""

    spatial: SpatialAugmentation = field(default_factory=SpatialAugmentation)
    intensity: IntensityAugmentation = field(default_factory=IntensityAugmentation)


def augmented_patch(
    center: PatchCenter,
    augmentation: Augmentation,
    rng: np.random.Generator,
    *,
    size: Shape,
    spacing_mm: Spacing,
    air: float,
    paste: Paste | None = None,
) -> Patch:
    """Cut a patch with a drawn spatial change, then change its intensities.

    Args:
        center: case and place.
        augmentation: what may happen.
        rng: the sample's own generator.
        size: patch size in voxels.
        spacing_mm: spacing of the case.
        air: normalized intensity of air.
        paste: a tumor object that is pasted into the case first.
    """
    patch = cut_patch(center, size, spacing_mm, draw_spatial(augmentation.spatial, rng), air, paste)
    return replace(patch, image_zyx=apply_intensity(patch.image_zyx, draw_intensity(augmentation.intensity, rng)))
