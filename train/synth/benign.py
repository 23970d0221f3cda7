"""Dark structures in organs that are no tumors: renal sinus and pelvis, narrow or wide, cysts of kidneys and liver.

A network that is trained without them predicts a tumor at every dark place in a kidney.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from scipy import ndimage

from flare_infer import labels
from train.synth.anatomy import Anatomy
from train.synth.landmarks import axes_mm, find_landmarks, points_mm
from train.synth.tissue import Codes, Mask, Tissue, ellipsoid

UNFILLED: Final = 0

_FLUID: Final = labels.GALLBLADDER
"""Urine and the fluid of cysts have the brightness of bile."""

_SINUS, _WIDE, _EXCRETED, _NO_URINE = 0.85, 0.4, 0.12, 0.3
_RENAL_CYST, _HEPATIC_CYSTS = 0.35, 0.3
_RIM_MM: Final = (4.0, 9.0)
_BEYOND_KIDNEY_MM: Final = 12.0


def with_benign_findings(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Anatomy, Codes]:
    """Hollow the kidneys, and put cysts into kidneys and liver.

    The label of a kidney is its parenchyma, without sinus fat, urine and cysts. A small cyst of the liver keeps the
    label liver.

    Args:
        anatomy: organs of a patient; liver, spleen and left kidney must be among them.
        rng: source of the structures, their positions and sizes.

    Returns:
        the anatomy with hollowed kidneys, and a tissue map (z, y, x) of the fillings, `UNFILLED` elsewhere.
    """
    codes, filling = anatomy.codes_zyx.copy(), np.full(anatomy.shape, UNFILLED, dtype=np.uint8)
    midline = find_landmarks(anatomy).midline
    for code in labels.KIDNEYS:
        kidney = anatomy.codes_zyx == code
        if not kidney.any():
            continue
        room = kidney | (anatomy.codes_zyx == labels.BACKGROUND)
        if rng.random() < _SINUS:
            _fill_sinus(filling, anatomy, kidney, room, midline, rng)
        if rng.random() < _RENAL_CYST:
            cyst = _sphere(anatomy, points_mm(kidney, anatomy), rng.uniform(5, 28), rng)
            filling[cyst & room] = _FLUID
        codes[kidney & (filling != UNFILLED)] = labels.BACKGROUND
    liver = anatomy.codes_zyx == labels.LIVER
    if rng.random() < _HEPATIC_CYSTS:
        inside = points_mm(liver, anatomy)
        for _ in range(int(rng.integers(1, 4, endpoint=True))):
            filling[_sphere(anatomy, inside, rng.uniform(3, 8), rng) & liver] = _FLUID
    return replace(anatomy, codes_zyx=codes), filling


def _fill_sinus(
    filling: Codes, anatomy: Anatomy, kidney: Mask, room: Mask, midline: float, rng: np.random.Generator
) -> None:  # fmt: skip
    """Paint fat around a renal pelvis with urine, open toward the midline; a wide pelvis leaves a rim of parenchyma."""
    points = points_mm(kidney, anatomy)
    (z, y, x), half = points.mean(axis=0).tolist(), np.maximum(points.std(axis=0) * 2, 1.0)
    inward = np.sign(midline - x)
    wide = rng.random() < _WIDE
    middle = (z + rng.uniform(-0.15, 0.15) * half[0], y - rng.uniform(0, 0.2) * half[1],
              x + inward * rng.uniform(0.15, 0.5) * half[2])  # fmt: skip
    radii = half * rng.uniform((0.35, 0.3, 0.45), (0.6, 0.5, 0.8)) * (rng.uniform(1.0, 1.5) if wide else 1.0)
    depth = ndimage.distance_transform_edt(kidney, sampling=anatomy.spacing_mm)
    beyond = ndimage.distance_transform_edt(~kidney, sampling=anatomy.spacing_mm)
    grid = axes_mm(anatomy)
    hilum = (grid[2] - x) * inward > 0
    open_to = room & (beyond <= _BEYOND_KIDNEY_MM) & ((depth > rng.uniform(*_RIM_MM)) | hilum)
    sinus = open_to & ellipsoid(grid, middle, radii.tolist())
    filling[sinus & kidney] = Tissue.FAT
    urine = Tissue.BONE if rng.random() < _EXCRETED else _FLUID
    if wide:
        filling[sinus] = urine
    elif rng.random() >= _NO_URINE:
        filling[open_to & ellipsoid(grid, middle, (radii * rng.uniform(0.4, 0.7)).tolist())] = urine


def _sphere(anatomy: Anatomy, centers: np.ndarray, radius_mm: float, rng: np.random.Generator) -> Mask:
    """Mask of an ellipsoid around one of the points, whose radii differ a little from each other."""
    z, y, x = centers[rng.integers(len(centers))].tolist()
    return ellipsoid(axes_mm(anatomy), (z, y, x), (radius_mm * rng.uniform(0.8, 1.2, 3)).tolist())
