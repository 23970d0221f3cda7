"""Organs that a label map lacks, invented at their usual positions."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise, product
from typing import Final, TypeAlias

import numpy as np

from flare_infer import labels
from train.synth.anatomy import Anatomy
from train.synth.landmarks import Landmarks, axes_mm, find_landmarks, has_class, points_mm
from train.synth.pelvis import fork_mm
from train.synth.tissue import Mask, Point

Maker: TypeAlias = Callable[[Anatomy, Landmarks], Mask]

_RIGHT_KIDNEY_LOWER_MM: Final = 8.0


def with_missing_organs(anatomy: Anatomy) -> Anatomy:
    """Add all missing organs that can be invented, that is all but gallbladder, stomach, pancreas and duodenum.

    Existing organs are kept, with one exception: the vena cava runs through the back of the liver.
    """
    landmarks = find_landmarks(anatomy)
    codes = anatomy.codes_zyx.copy()
    for code, maker in _MAKERS.items():
        if not has_class(codes, code):
            drawn = maker(replace(anatomy, codes_zyx=codes), landmarks)
            beneath = (labels.BACKGROUND, labels.LIVER) if code in _THROUGH_LIVER else (labels.BACKGROUND,)
            codes[drawn & np.isin(codes, beneath)] = code
    if anatomy.torso:
        z, _, _ = axes_mm(anatomy)
        codes[np.isin(codes, _FORKING) & (z < fork_mm(landmarks))] = labels.BACKGROUND
    return replace(anatomy, codes_zyx=codes)


def aorta_line(anatomy: Anatomy, landmarks: Landmarks) -> tuple[float, float]:
    """Position (y, x) in mm of the aorta at the level of the left kidney, estimated if the map lacks it there."""
    aorta = points_mm(anatomy.codes_zyx == labels.AORTA, anatomy)
    near = aorta[np.abs(aorta[:, 0] - landmarks.kidney[0]) < 25] if len(aorta) else aorta
    if len(near):
        return float(np.median(near[:, 1])), float(np.median(near[:, 2]))
    return landmarks.kidney[1] - 33, landmarks.midline + 14.0


def _right_kidney(anatomy: Anatomy, landmarks: Landmarks) -> Mask:
    """The left kidney mirrored at the midline, moved to where it overlaps other organs least."""
    step = anatomy.spacing_mm
    left = anatomy.codes_zyx == labels.LEFT_KIDNEY
    where = np.argwhere(left)
    where[:, 2] = np.round(2 * landmarks.midline / step[2] - 1 - where[:, 2]).astype(np.intp)
    free = anatomy.codes_zyx == labels.BACKGROUND

    def mirrored(z_mm: float, y_mm: float, x_mm: float) -> Mask:
        moved = where + np.round(np.divide((z_mm - _RIGHT_KIDNEY_LOWER_MM, y_mm, x_mm), step)).astype(np.intp)
        moved = moved[((moved >= 0) & (moved < anatomy.shape)).all(axis=1)]
        mask = np.zeros(anatomy.shape, dtype=np.bool_)
        mask[tuple(moved.T)] = True
        return mask

    ways = product((0, -8, -16, -24, -32, -40, -50, -60), (0, -8, 8, 16), (0, 8, 16))
    return _least_in_the_way(mirrored, ways, free, per_mm=0.004)


def _aorta(anatomy: Anatomy, landmarks: Landmarks) -> Mask:
    y, x = aorta_line(anatomy, landmarks)
    return _vessel(anatomy, (y, x), radius=10.0, lowest=-np.inf, highest=np.inf)


def _vena_cava(anatomy: Anatomy, landmarks: Landmarks) -> Mask:
    y, x = aorta_line(anatomy, landmarks)
    top = landmarks.dome + 8
    through = replace(anatomy, codes_zyx=np.where(anatomy.codes_zyx == labels.LIVER, 0, anatomy.codes_zyx))
    return _vessel(through, (y - 5, x - 31), radius=11.0, lowest=-np.inf, highest=top)


def _esophagus(anatomy: Anatomy, landmarks: Landmarks) -> Mask:
    """A tube from the top of the stomach to the front of the aorta, and up."""
    y, x = aorta_line(anatomy, landmarks)
    stomach = points_mm(anatomy.codes_zyx == labels.STOMACH, anatomy)
    if not len(stomach):
        return _vessel(anatomy, (y - 22, x - 10), radius=8.0, lowest=landmarks.dome - 40, highest=np.inf)
    upper = stomach[stomach[:, 0] > np.percentile(stomach[:, 0], 75)]
    inlet = upper[np.argmin(np.hypot(upper[:, 1] - (y - 22), upper[:, 2] - (x - 10)))]
    hiatus = (float(inlet[0]) + 25, y - 22, x - 10)
    return _tube(anatomy, [(float(inlet[0]), float(inlet[1]), float(inlet[2])), hiatus, (1e4, y - 22, x - 10)], 8.0)


def _right_adrenal(anatomy: Anatomy, landmarks: Landmarks) -> Mask:
    kidney = points_mm(anatomy.codes_zyx == labels.RIGHT_KIDNEY, anatomy)
    top = float(kidney[:, 0].max()) if len(kidney) else landmarks.kidney_top - _RIGHT_KIDNEY_LOWER_MM
    y, x = aorta_line(anatomy, landmarks)
    return _adrenal(anatomy, (top + 4, y + 9, x - 47), side=-1)


def _left_adrenal(anatomy: Anatomy, landmarks: Landmarks) -> Mask:
    y, x = aorta_line(anatomy, landmarks)
    return _adrenal(anatomy, (landmarks.kidney_top, y + 6, x + 29), side=1)


def _adrenal(anatomy: Anatomy, center: Point, side: int) -> Mask:
    """Two thin limbs that meet in front, in the form of an inverted V seen from above."""
    free = anatomy.codes_zyx == labels.BACKGROUND
    z, y, x = axes_mm(anatomy)

    def limbs(z_mm: float, y_mm: float, x_mm: float) -> Mask:
        dz, dy, dx = z - center[0] - z_mm, y - center[1] - y_mm, (x - center[2] - x_mm) * side
        medial = (dz / 14.0) ** 2 + (dy / 14.0) ** 2 + ((dx + 0.2 * dy) / 4.5) ** 2 <= 1
        lateral = (dz / 12) ** 2 + ((dy - 4) / 11) ** 2 + ((dx - 0.7 * (dy + 6) - 2) / 4.5) ** 2 <= 1
        return np.asarray(medial | lateral)

    ways = product((0, 8, 16, -8), (0, -6, 6, 12), (0, -6, 6, 12, -12))
    return _least_in_the_way(limbs, ways, free, per_mm=0.01)


def _vessel(
    anatomy: Anatomy, yx: tuple[float, float], radius: float, lowest: float, highest: float
) -> Mask:  # fmt: skip
    """A straight tube along z, moved a little if it overlaps other organs."""
    free = anatomy.codes_zyx == labels.BACKGROUND
    z, y, x = axes_mm(anatomy)

    def tube(z_mm: float, y_mm: float, x_mm: float) -> Mask:
        inside = (y - yx[0] - y_mm) ** 2 + (x - yx[1] - x_mm) ** 2 <= radius**2
        return np.asarray(inside & (z >= lowest) & (z <= highest))

    return _least_in_the_way(tube, product((0,), (0, -5, 5, 10), (0, -5, 5)), free, per_mm=0.004)


def _tube(anatomy: Anatomy, points: list[Point], radius: float) -> Mask:
    z, y, x = axes_mm(anatomy)
    inside = np.zeros(anatomy.shape, dtype=np.bool_)
    for (z0, y0, x0), (z1, y1, x1) in pairwise(points):
        way = np.clip((z - z0) / max(z1 - z0, 1e-6), 0, 1)
        near = (y - y0 - way * (y1 - y0)) ** 2 + (x - x0 - way * (x1 - x0)) ** 2 <= radius**2
        inside |= near & (z >= z0) & (z <= z1)
    return inside


def _least_in_the_way(
    make: Callable[[float, float, float], Mask],
    ways: Iterator[tuple[float, float, float]],
    free: Mask,
    per_mm: float,
) -> Mask:
    """The mask, among several positions, that overlaps other organs least.

    Args:
        make: makes the mask (z, y, x) moved by (z, y, x) mm.
        ways: displacements (z, y, x) in mm to try.
        free: mask of the voxels without organs.
        per_mm: cost of a displacement by 1 mm, in fractions of the mask that overlap.
    """
    best, lowest = None, np.inf
    for way in ways:
        mask = make(*way)
        size = int(np.count_nonzero(mask))
        cost = int(np.count_nonzero(mask & ~free)) / max(size, 1) + per_mm * float(np.abs(way).sum())
        if best is None or (cost < lowest and size):
            best, lowest = mask, cost
    return np.zeros_like(free) if best is None else best


_MAKERS: Final[dict[int, Maker]] = {
    labels.AORTA: _aorta,
    labels.INFERIOR_VENA_CAVA: _vena_cava,
    labels.ESOPHAGUS: _esophagus,
    labels.RIGHT_KIDNEY: _right_kidney,
    labels.RIGHT_ADRENAL_GLAND: _right_adrenal,
    labels.LEFT_ADRENAL_GLAND: _left_adrenal,
}
"""Makers of organs by code, in order; later ones avoid the organs that exist already."""

_THROUGH_LIVER: Final = (labels.INFERIOR_VENA_CAVA,)

_FORKING: Final = (labels.AORTA, labels.INFERIOR_VENA_CAVA)
