"""Landmarks of a body, found from its organs: midline, front, back and levels of organs.

The distances were measured on real CTs of which the organs in question are labeled (mid-abdomen, supine): the aorta
lies about 33 mm before the middle of the left kidney and 14 mm left of the midline between liver and spleen, the vena
cava 40 mm before it and 17 mm to the right.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flare_infer import labels
from train.synth.anatomy import Anatomy
from train.synth.tissue import Axis, Codes, Mask, Point


@dataclass(frozen=True, kw_only=True)
class Landmarks:
    """Landmarks in mm from the grid's corner, toward superior, posterior and left.

    Attributes:
        midline: x between the right edge of the liver and the left edge of the spleen.
        half_width: distance from the midline to either of these edges.
        front: y of the front of all organs.
        back: y of the back of the kidneys, liver and spleen.
        kidney: the middle of the left kidney (z, y, x).
        kidney_top: z of its upper pole.
        dome: z of the top of the liver.
        liver_bottom: z of its lower edge.
    """

    midline: float
    half_width: float
    front: float
    back: float
    kidney: Point
    kidney_top: float
    dome: float
    liver_bottom: float


def find_landmarks(anatomy: Anatomy) -> Landmarks:
    """Find the landmarks from liver, spleen and left kidney, which must exist."""
    liver, spleen, kidney = (
        points_mm(anatomy.codes_zyx == code, anatomy)
        for code in (labels.LIVER, labels.SPLEEN, labels.LEFT_KIDNEY)
    )  # fmt: skip
    solid = np.concatenate([liver, spleen, kidney])
    every = points_mm(np.isin(anatomy.codes_zyx, labels.ORGANS), anatomy)
    right, left = np.percentile(liver[:, 2], 0.5), np.percentile(spleen[:, 2], 99.5)
    middle = kidney.mean(axis=0)
    return Landmarks(
        midline=float(right + left) / 2,
        half_width=float(left - right) / 2,
        front=float(np.percentile(every[:, 1], 0.5)),
        back=float(np.percentile(solid[:, 1], 99.5)),
        kidney=(float(middle[0]), float(middle[1]), float(middle[2])),
        kidney_top=float(kidney[:, 0].max()),
        dome=float(liver[:, 0].max()),
        liver_bottom=float(np.percentile(liver[:, 0], 2)),
    )


def points_mm(mask_zyx: Mask, anatomy: Anatomy) -> npt.NDArray[np.float64]:
    """Coordinates of the voxels of a mask, one row (z, y, x) each, in mm from the grid's corner."""
    points: npt.NDArray[np.float64] = (np.argwhere(mask_zyx) + 0.5) * np.asarray(anatomy.spacing_mm)
    return points


def axes_mm(anatomy: Anatomy) -> tuple[Axis, Axis, Axis]:
    """Coordinates of the voxel centers along (z, y, x), shaped to be broadcast against each other."""
    z, y, x = (
        ((np.arange(size) + 0.5) * step).astype(np.float32)
        for size, step in zip(anatomy.shape, anatomy.spacing_mm, strict=True)
    )
    return z[:, None, None], y[None, :, None], x[None, None, :]


def has_class(codes_zyx: Codes, code: int) -> bool:
    """Whether a class has a voxel."""
    return bool((codes_zyx == code).any())
