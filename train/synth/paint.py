"""Painting a CT and its true labels from organs and tumors."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_infer import labels
from flare_infer.geometry import Spacing
from flare_infer.volume.volume import Placement
from train.synth.anatomy import Anatomy
from train.synth.benign import UNFILLED
from train.synth.body import tissues_around
from train.synth.phantom import LPS_AXES
from train.synth.tissue import Appearance, Codes, Mask, Tissue

_TEXTURE_MM: Final = 5.0
_NECROSIS_MM: Final = 8.0


@dataclass(frozen=True, kw_only=True)
class PaintedCT:
    """A painted CT.

    Attributes:
        image_zyx: Hounsfield units (z, y, x), int16.
        truth_zyx: code of every voxel, with tumors.
        organs_zyx: code of every voxel without tumors, as an annotator of organs alone would draw it.
        placement: position of the voxels in space.
    """

    image_zyx: npt.NDArray[np.int16]
    truth_zyx: Codes
    organs_zyx: Codes
    placement: Placement


def paint(
    anatomy: Anatomy,
    tumors_zyx: Mask,
    appearance: Appearance,
    rng: np.random.Generator,
    filling_zyx: Codes | None = None,
) -> PaintedCT:
    """Paint a CT of a complete anatomy.

    Args:
        anatomy: all organs of the patient.
        tumors_zyx: mask of the tumors (z, y, x).
        appearance: phase, texture, noise and resolution of the scan.
        rng: source of unlabeled structures, texture and noise.
        filling_zyx: tissue map (z, y, x) that replaces other tissues where it is not `UNFILLED`, as from
            `with_benign_findings`; None for none.
    """
    tissues = tissues_around(anatomy, rng)
    if filling_zyx is not None:
        tissues = np.where(filling_zyx == UNFILLED, tissues, filling_zyx)
    tissues[tumors_zyx] = labels.TUMOR
    deep = ndimage.distance_transform_edt(tumors_zyx, sampling=anatomy.spacing_mm)
    tissues[deep > _NECROSIS_MM] = Tissue.NECROSIS
    truth = anatomy.codes_zyx.copy()
    truth[tumors_zyx] = labels.TUMOR
    return PaintedCT(
        image_zyx=render(tissues, anatomy.spacing_mm, appearance, rng),
        truth_zyx=truth,
        organs_zyx=anatomy.codes_zyx,
        placement=centered(anatomy),
    )


def render(
    tissues_zyx: Codes, spacing_mm: Spacing, appearance: Appearance, rng: np.random.Generator
) -> npt.NDArray[np.int16]:  # fmt: skip
    """The CT of a tissue map, with brightness, texture, resolution (partial volume) and noise."""
    texture = _texture(tissues_zyx.shape, spacing_mm, rng)
    image = appearance.mean_hu[tissues_zyx] + appearance.texture_hu[tissues_zyx] * texture
    sigma = [blur / step for blur, step in zip(appearance.blur_mm, spacing_mm, strict=True)]
    image = ndimage.gaussian_filter(image, sigma)
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), (0.3, 0.5, 0.5))
    image += appearance.noise_hu / noise.std() * noise
    rounded: npt.NDArray[np.int16] = np.clip(np.round(image), -1024, 3071).astype(np.int16)
    return rounded


def centered(anatomy: Anatomy) -> Placement:
    """A placement in which the middle of the grid has the coordinates 0."""
    x, y, z = (-(size - 1) / 2 * step for size, step in zip(anatomy.shape[::-1], anatomy.spacing_mm[::-1], strict=True))
    return Placement(spacing_mm=anatomy.spacing_mm, origin_mm=(x, y, z), axes=LPS_AXES)


def _texture(
    shape: tuple[int, ...], spacing_mm: Spacing, rng: np.random.Generator
) -> npt.NDArray[np.float32]:  # fmt: skip
    noise = rng.standard_normal(shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, [_TEXTURE_MM / step for step in spacing_mm])
    return np.asarray(smooth / smooth.std(), dtype=np.float32)
