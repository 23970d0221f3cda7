"""A case turned to the patient's axes, and the point of it that is shown first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer import labels
from flare_infer.geometry import Shape, Spacing, triple_of_ints
from flare_infer.results.case import SegmentedCase
from flare_infer.results.organ_volumes import largest_parts
from flare_infer.volume.orient import turn
from flare_infer.volume.volume import Placement

_TUMOR: Final = labels.NAMES[labels.TUMOR]


@dataclass(frozen=True, kw_only=True)
class Upright:
    """A scan and its labels, whose array axes run toward superior, posterior and left, as views of the same memory.

    Attributes:
        image_zyx: intensities.
        codes_zyx: label codes, uint8, of the same shape.
        placement: where this grid lies in the patient.
    """

    image_zyx: npt.NDArray[Any]
    codes_zyx: npt.NDArray[np.uint8]
    placement: Placement


def upright(case: SegmentedCase) -> Upright:
    """Turn a case; an oblique one keeps its small rotation."""
    scan, _ = turn(case.scan, "LPS")
    codes, _ = turn(case.labels, "LPS")
    return Upright(image_zyx=scan.array_zyx, codes_zyx=codes.array_zyx, placement=scan.placement)


def point_of_interest(
    codes_zyx: npt.NDArray[np.uint8], spacing_mm: Spacing, names: Sequence[str], lesions: Sequence[int] = ()
) -> Shape:
    """The voxel whose three planes show most of the classes, each by its largest connected part.

    If there is a tumor, all three show at least half as much of it as any plane does. Without any class it is the
    middle of the scan.

    Args:
        codes_zyx: label codes.
        spacing_mm: distance between voxel centers along (z, y, x), in mm.
        names: name of every code, background first.
        lesions: codes of the lesions of a model with its own label set; of others the class tumor is one.
    """
    codes = range(1, len(names))
    parts_zyx, steps = largest_parts(codes_zyx, spacing_mm, codes)
    tumor = lesions[0] if lesions else names.index(_TUMOR) if _TUMOR in names else None
    found = [_fullest(parts_zyx, axis, len(names), tumor) for axis in range(3)]
    places = zip(codes_zyx.shape, found, steps, strict=True)
    return triple_of_ints([size // 2 if at is None else at * step for size, at, step in places])


def _fullest(parts_zyx: npt.NDArray[np.uint8], axis: int, count: int, tumor: int | None) -> int | None:
    """Index along an axis of the plane that shows most; None if nothing is there to see."""
    planes = np.moveaxis(parts_zyx, axis, 0)
    areas = np.array([np.bincount(plane.ravel(), minlength=count)[:count] for plane in planes])
    areas[:, labels.BACKGROUND] = 0
    if not areas.any():
        return None
    share = areas / np.maximum(areas.max(axis=0), 1)
    # A class counts fully from a third of its largest section on, and a little more at its largest.
    score = (np.minimum(share, 1 / 3) + 1e-3 * share).sum(axis=1)
    if tumor is not None and areas[:, tumor].any():
        score[share[:, tumor] < 0.5] = -1.0
    return int(np.argmax(score))
