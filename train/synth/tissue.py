"""The tissues of a painted body, and their brightness in each contrast phase.

A tissue map holds the codes of `labels` for organs and tumor, and codes from 32 on for unlabeled tissues. The labels
are a separate map, in which gas in the stomach is stomach, and the medulla of a kidney is kidney.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from flare_infer import labels
from flare_infer.errors import SpecError

Codes: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.bool_]
Axis: TypeAlias = npt.NDArray[np.float32]
Point: TypeAlias = tuple[float, float, float]


class Tissue(IntEnum):
    """Codes of a tissue map beyond those of `labels`."""

    AIR = 32
    FAT = 33
    MUSCLE = 34
    BONE = 35
    MARROW = 36
    DISC = 37
    CORD = 38
    LUNG = 39
    HEART = 40
    BOWEL = 41
    GAS = 42
    MEDULLA = 43
    NECROSIS = 44
    SKIN = 45


TISSUES: Final = max(Tissue) + 1
"""Length of a table with an entry for every code of a tissue map."""

Phase: TypeAlias = Literal["unenhanced", "arterial", "portal"]

PHASES: Final[tuple[Phase, ...]] = get_args(Phase)

USUAL_PHASES: Final = (0.1, 0.25, 0.65)
"""Usual probabilities of the phases in scans of the abdomen, in the order of `PHASES`."""

_ENHANCED_HU: Final[dict[int, tuple[float, float, float]]] = {
    labels.LIVER: (57, 72, 110),
    labels.RIGHT_KIDNEY: (33, 165, 185),
    labels.LEFT_KIDNEY: (33, 165, 185),
    labels.SPLEEN: (48, 120, 122),
    labels.PANCREAS: (40, 100, 92),
    labels.AORTA: (40, 280, 150),
    labels.INFERIOR_VENA_CAVA: (38, 95, 135),
    labels.RIGHT_ADRENAL_GLAND: (22, 75, 68),
    labels.LEFT_ADRENAL_GLAND: (22, 75, 68),
    labels.GALLBLADDER: (10, 10, 12),
    labels.ESOPHAGUS: (34, 45, 55),
    labels.STOMACH: (22, 26, 30),
    labels.DUODENUM: (32, 52, 60),
    labels.TUMOR: (38, 50, 62),
    Tissue.HEART: (42, 190, 140),
    Tissue.MEDULLA: (32, 85, 170),
    Tissue.BOWEL: (30, 48, 60),
    Tissue.NECROSIS: (22, 24, 26),
    Tissue.MUSCLE: (48, 54, 60),
}
"""Typical brightness in HU by tissue and phase, in the order of `PHASES`."""

_ALWAYS_HU: Final[dict[int, float]] = {
    Tissue.AIR: -1000,
    Tissue.FAT: -102,
    Tissue.BONE: 430,
    Tissue.MARROW: 190,
    Tissue.DISC: 85,
    Tissue.CORD: 38,
    Tissue.LUNG: -840,
    Tissue.GAS: -880,
    Tissue.SKIN: 10,
}

_SPREAD_HU: Final = 9.0
"""Standard deviation of a tissue's mean between patients; enhancement has a random factor in addition."""

_TEXTURE_HU: Final[dict[int, float]] = {
    labels.STOMACH: 16.0,
    labels.DUODENUM: 14.0,
    labels.PANCREAS: 10.0,
    labels.TUMOR: 12.0,
    Tissue.BOWEL: 22.0,
    Tissue.FAT: 7.0,
    Tissue.LUNG: 35.0,
    Tissue.MARROW: 45.0,
    Tissue.BONE: 60.0,
    Tissue.AIR: 0.0,
}
_TEXTURE_ELSEWHERE_HU: Final = 6.0


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """The appearance of one scan.

    Attributes:
        phase: contrast phase.
        mean_hu: brightness of each code of a tissue map, `TISSUES` numbers.
        texture_hu: standard deviation of the slow variation within each tissue, `TISSUES` numbers.
        noise_hu: standard deviation of the noise.
        blur_mm: resolution of the scanner along (z, y, x), as the standard deviation of a Gaussian.
    """

    phase: Phase
    mean_hu: npt.NDArray[np.float32]
    texture_hu: npt.NDArray[np.float32]
    noise_hu: float
    blur_mm: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.phase not in PHASES or self.mean_hu.shape != (TISSUES,) or self.texture_hu.shape != (TISSUES,):
            raise SpecError(f"an appearance needs a phase of {', '.join(PHASES)} and {TISSUES} tissues, found {self}")


def draw_appearance(rng: np.random.Generator, phases: tuple[float, float, float] = USUAL_PHASES) -> Appearance:
    """Draw how one scan looks, each tissue about its typical brightness.

    Args:
        rng: source of phase, brightness, texture, noise and blur.
        phases: probabilities of the contrast phases, in the order of `PHASES`.
    """
    phase: Phase = PHASES[rng.choice(len(PHASES), p=phases)]
    strength = rng.uniform(0.85, 1.15)
    mean = np.full(TISSUES, -1000, dtype=np.float32)
    for code, values in _ENHANCED_HU.items():
        unenhanced, enhanced = values[0], values[PHASES.index(phase)]
        mean[code] = unenhanced + (enhanced - unenhanced) * strength + rng.normal(0, _SPREAD_HU)
    for code, value in _ALWAYS_HU.items():
        mean[code] = value + rng.normal(0, 0.02 * abs(value))
    # Both kidneys are enhanced alike; a fatty liver is darker, and a tumor in it has little contrast.
    mean[labels.RIGHT_KIDNEY] = mean[labels.LEFT_KIDNEY]
    mean[labels.RIGHT_ADRENAL_GLAND] = mean[labels.LEFT_ADRENAL_GLAND]
    mean[labels.LIVER] -= 35 * (rng.random() < 0.12)
    mean[labels.TUMOR] = min(mean[labels.TUMOR], mean[labels.LIVER] - 18)
    texture = np.full(TISSUES, _TEXTURE_ELSEWHERE_HU, dtype=np.float32)
    for code, value in _TEXTURE_HU.items():
        texture[code] = value
    through_plane, in_plane = rng.uniform(1.0, 2.6), rng.uniform(0.8, 1.4)
    return Appearance(
        phase=phase,
        mean_hu=mean,
        texture_hu=texture * np.float32(rng.uniform(0.7, 1.3)),
        noise_hu=float(rng.uniform(8, 22)),
        blur_mm=(through_plane, in_plane, in_plane),
    )


def ellipsoid(grid: tuple[Axis, Axis, Axis], center: Point, radii: Sequence[float]) -> Mask:
    """Mask (z, y, x) of the voxels in an ellipsoid.

    Args:
        grid: coordinates of the voxels along (z, y, x), shaped to be broadcast against each other.
        center: its center (z, y, x), in the unit of the grid.
        radii: its semi-axes along (z, y, x).
    """
    parts = (((axis - at) / radius) ** 2 for axis, at, radius in zip(grid, center, radii, strict=True))
    return np.asarray(sum(parts) <= 1)
