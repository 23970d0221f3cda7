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
    """All random changes of a patch.

    Attributes:
        spatial: ranges and probabilities of changes in shape.
        intensity: probabilities of changes in intensity.
    """

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
        center: the case and the center of the patch.
        augmentation: ranges and probabilities of the changes.
        rng: random generator of the sample.
        size: size of the patch in voxels (z, y, x).
        spacing_mm: spacing of the case along (z, y, x).
        air: normalized intensity of air.
        paste: a tumor object that is pasted into the case first; None for none.
    """
    patch = cut_patch(center, size, spacing_mm, draw_spatial(augmentation.spatial, rng), air, paste)
    return replace(patch, image_zyx=apply_intensity(patch.image_zyx, draw_intensity(augmentation.intensity, rng)))
