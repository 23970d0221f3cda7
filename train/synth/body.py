"""The body around the organs: cavity, wall, fat, skin, spine, ribs, lungs, heart and bowel.

A label map shows none of these; they are invented at their usual positions relative to the organs. Labeled voxels never
change.
"""

from typing import Final

import numpy as np
from scipy import ndimage

from flare_infer import labels
from train.synth.anatomy import Anatomy
from train.synth.invented_organs import aorta_line
from train.synth.landmarks import Landmarks, axes_mm, find_landmarks
from train.synth.pelvis import draw_fluid, draw_pelvis
from train.synth.tissue import Axis, Codes, Mask, Tissue

_UPPER: Final = (labels.LIVER, labels.SPLEEN, labels.STOMACH, labels.LEFT_KIDNEY, labels.RIGHT_KIDNEY)
"""Codes of the organs directly below the diaphragm, which determine its shape."""


def tissues_around(anatomy: Anatomy, rng: np.random.Generator) -> Codes:
    """The tissue map of a body around some organs.

    Args:
        anatomy: organs of a patient; liver, spleen and left kidney must be among them.
        rng: source of the thickness of fat, of bowel and gas, and of the positions of ribs and vertebrae.

    Returns:
        codes (z, y, x), uint8: those of `labels` in organs, those of `Tissue` elsewhere.
    """
    landmarks, codes = find_landmarks(anatomy), anatomy.codes_zyx
    grid = axes_mm(anatomy)
    spine_yx = _spine(anatomy, landmarks)
    cavity = _cavity(anatomy, landmarks, grid)
    inner = cavity | _back(grid, spine_yx)
    beyond = ndimage.distance_transform_edt(~inner, sampling=anatomy.spacing_mm)
    wall, fat = rng.uniform(11, 17), _fat_mm(grid, spine_yx, rng)

    out = np.full(anatomy.shape, Tissue.AIR, dtype=np.uint8)
    out[beyond <= wall + fat + 3] = Tissue.SKIN
    out[beyond <= wall + fat] = Tissue.FAT
    out[beyond <= wall] = Tissue.MUSCLE
    out[_ribs(grid, landmarks, beyond, cavity, rng)] = Tissue.BONE
    out[cavity] = Tissue.FAT
    _fill_abdomen(out, anatomy, landmarks, cavity, rng)
    _fill_chest(out, anatomy, landmarks, cavity, spine_yx)
    _draw_spine(out, grid, spine_yx, rng)
    if anatomy.torso:
        draw_pelvis(out, anatomy, landmarks, spine_yx, rng)
        draw_fluid(out, landmarks, anatomy, cavity, rng)
    organs = codes > 0
    out[organs] = codes[organs]
    _fill_organs(out, anatomy)
    return out


def _spine(anatomy: Anatomy, landmarks: Landmarks) -> tuple[float, float]:
    """Middle (y, x) of the vertebral bodies in mm: behind the aorta, and right of it."""
    y, x = aorta_line(anatomy, landmarks)
    return y + 33, x - 12


def _cavity(anatomy: Anatomy, landmarks: Landmarks, grid: tuple[Axis, Axis, Axis]) -> Mask:
    """Mask of the space for organs: a rounded cylinder around all of them, wider where an organ comes near its rim."""
    _, y, x = grid
    middle, depth = (landmarks.front + landmarks.back) / 2, (landmarks.back - landmarks.front) / 2 + 8
    width = landmarks.half_width + 6
    ellipse = np.abs((y - middle) / depth) ** 2.4 + np.abs((x - landmarks.midline) / width) ** 2.4 <= 1
    near = ndimage.distance_transform_edt(anatomy.codes_zyx == labels.BACKGROUND, sampling=anatomy.spacing_mm) <= 6
    return np.asarray(np.broadcast_to(ellipse, anatomy.shape) | near)


def _back(grid: tuple[Axis, Axis, Axis], spine_yx: tuple[float, float]) -> Mask:
    """Mask of the muscles beside the spine."""
    _, y, x = grid
    return np.asarray(((y - spine_yx[0] - 26) / 34) ** 2 + ((x - spine_yx[1]) / 82) ** 2 <= 1)


def _fat_mm(grid: tuple[Axis, Axis, Axis], spine_yx: tuple[float, float], rng: np.random.Generator) -> Axis:
    """Thickness in mm of the fat under the skin at each (y, x): largest in front and at the flanks."""
    _, y, x = grid
    build = rng.uniform(0.4, 1.5)
    backward = np.clip((y - spine_yx[0]) / 60, 0, 1)
    return np.asarray(build * (20 - 8 * backward) + 0 * x, dtype=np.float32)


def _ribs(
    grid: tuple[Axis, Axis, Axis], landmarks: Landmarks, beyond: Axis, cavity: Mask, rng: np.random.Generator
) -> Mask:  # fmt: skip
    """Mask of the ribs around the upper abdomen, sloping toward the front, and of the iliac wings below the kidneys."""
    z, y, x = grid
    shell = (beyond > 2) & (beyond <= 9) & ~cavity
    aside = np.abs(x - landmarks.midline) > 0.3 * landmarks.half_width
    fall = z + 0.5 * (landmarks.back - y)
    ribs = ((fall + rng.uniform(0, 30)) % 30 < 11) & (fall > landmarks.liver_bottom + 30)
    ilium = (z < landmarks.kidney[0] - 100) & (y > landmarks.front + 0.45 * (landmarks.back - landmarks.front))
    return np.asarray(shell & aside & (ribs | ilium))


def _fill_abdomen(out: Codes, anatomy: Anatomy, landmarks: Landmarks, cavity: Mask, rng: np.random.Generator) -> None:
    """Paint psoas muscles, and bowel loops with gas in front; fat stays around kidneys and between organs."""
    z, y, x = axes_mm(anatomy)
    spacing = anatomy.spacing_mm
    spine_y, spine_x = _spine(anatomy, landmarks)
    thick = np.clip((landmarks.kidney[0] + 10 - z) / 60, 0, 1) * 22
    for side in (-1, 1):
        psoas = (y - spine_y + 2) ** 2 + ((x - spine_x) - side * (27 + thick * 0.6)) ** 2 <= thick**2
        out[psoas & cavity] = Tissue.MUSCLE

    loops = _smooth_field(anatomy, rng, 10.0)
    organs = anatomy.codes_zyx > 0
    apart = ndimage.distance_transform_edt(~organs, sampling=spacing) > 4
    front_of_kidneys = y < landmarks.kidney[1] - 12
    lower = z < landmarks.liver_bottom + 0.45 * (landmarks.dome - landmarks.liver_bottom)
    room = cavity & apart & lower & front_of_kidneys & (out == Tissue.FAT)
    bowel = room & (loops > rng.uniform(-0.5, 0.3))
    out[bowel] = Tissue.BOWEL
    deep = ndimage.distance_transform_edt(bowel, sampling=spacing) > 5
    out[deep & (y < landmarks.front + 0.45 * (landmarks.kidney[1] - landmarks.front)) & (loops > 1.1)] = Tissue.GAS


def _fill_chest(
    out: Codes, anatomy: Anatomy, landmarks: Landmarks, cavity: Mask, spine_yx: tuple[float, float]
) -> None:  # fmt: skip
    """Paint lungs above a diaphragm that lies on the organs and slopes toward the rim, heart and fat between them."""
    z, y, x = axes_mm(anatomy)
    step_z, step_y, step_x = anatomy.spacing_mm
    carried = np.isin(anatomy.codes_zyx, _UPPER)
    columns = carried.any(axis=0)
    top = (anatomy.shape[0] - np.argmax(carried[::-1], axis=0)) * step_z
    away, (near_y, near_x) = ndimage.distance_transform_edt(
        ~columns, sampling=(step_y, step_x), return_indices=True
    )  # fmt: skip
    diaphragm = ndimage.gaussian_filter(top[near_y, near_x] - 0.8 * away, (10 / step_y, 10 / step_x))
    chest = cavity & (z > diaphragm + 4) & (z > max(landmarks.dome - 95, landmarks.kidney_top + 12))
    out[chest] = Tissue.LUNG
    depth = spine_yx[0] - landmarks.front
    between = (np.abs(x - spine_yx[1] - 5) < 32) & (y > spine_yx[0] - 55)
    out[chest & between] = Tissue.FAT
    heart = ((z - landmarks.dome - 38) / 46) ** 2 + ((y - landmarks.front - 0.38 * depth) / (0.36 * depth)) ** 2
    out[chest & (heart + ((x - landmarks.midline - 18) / 55) ** 2 <= 1)] = Tissue.HEART


def _draw_spine(
    out: Codes, grid: tuple[Axis, Axis, Axis], spine_yx: tuple[float, float], rng: np.random.Generator
) -> None:  # fmt: skip
    """Paint vertebrae with a dense rim, discs, the spinal canal, spinous and transverse processes."""
    z, y, x = grid
    dy, dx = y - spine_yx[0], x - spine_yx[1]
    along = (z + rng.uniform(0, 36)) % 36
    radius = (dy / 18) ** 2 + (dx / 23) ** 2
    out[np.broadcast_to(radius <= 1, out.shape)] = Tissue.BONE
    out[np.broadcast_to(radius <= 0.7, out.shape)] = Tissue.MARROW
    out[(radius <= 1) & (along < 8)] = Tissue.DISC
    arch = (np.abs(dx) < 13) & (dy > 12) & (dy < 38)
    spinous = (np.abs(dx) < 4) & (dy >= 36) & (dy < 58)
    transverse = (np.abs(dx) < 42) & (dy > 20) & (dy < 28)
    out[(arch | ((spinous | transverse) & (along > 12) & (along < 30)))] = Tissue.BONE
    out[np.broadcast_to((dy - 26) ** 2 + dx**2 <= 8**2, out.shape)] = Tissue.CORD


def _fill_organs(out: Codes, anatomy: Anatomy) -> None:
    """Paint the contents of organs: gas in the front of the stomach, medulla in the kidneys."""
    _, y, _ = axes_mm(anatomy)
    stomach = anatomy.codes_zyx == labels.STOMACH
    if stomach.any():
        inside = ndimage.distance_transform_edt(stomach, sampling=anatomy.spacing_mm) > 3
        level = np.percentile(np.broadcast_to(y, out.shape)[stomach], 22)
        out[inside & (y < level)] = Tissue.GAS
    for code in labels.KIDNEYS:
        deep = ndimage.distance_transform_edt(anatomy.codes_zyx == code, sampling=anatomy.spacing_mm) > 9
        out[deep] = Tissue.MEDULLA


def _smooth_field(anatomy: Anatomy, rng: np.random.Generator, scale_mm: float) -> Axis:
    """Smooth noise (z, y, x) of mean 0 and standard deviation 1, with structures of about `scale_mm` mm."""
    noise = rng.standard_normal(anatomy.shape, dtype=np.float32)
    field = ndimage.gaussian_filter(noise, [scale_mm / step for step in anatomy.spacing_mm])
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)
