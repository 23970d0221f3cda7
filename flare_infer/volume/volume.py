"""An array with its place in the patient."""

from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Box, Shape, Spacing, triple_of_floats, triple_of_ints

Axes: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
"""Unit vectors, in patient coordinates, along the array axes (z, y, x): one row per array axis."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a grid of voxels lies in the patient.

    Patient coordinates are LPS millimeters, in the order (left, posterior, superior), as in DICOM and ITK.

    Attributes:
        spacing_mm: distance between voxel centers along the array axes (z, y, x).
        origin_mm: patient coordinates of the center of voxel (0, 0, 0).
        axes: for each array axis (z, y, x) its unit vector in patient coordinates.
    """

    spacing_mm: Spacing
    origin_mm: tuple[float, float, float]
    axes: Axes


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A scalar volume.

    Attributes:
        array_zyx: intensities (Hounsfield units for a CT) or label codes, indexed (z, y, x).
        placement: place of the grid in the patient.
        doubts: questions that the file left open, a line each, for the user.
    """

    array_zyx: npt.NDArray[Any]
    placement: Placement
    doubts: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        """Number of voxels along (z, y, x)."""
        return triple_of_ints(self.array_zyx.shape)


SAME_SPACING_MM: Final = 1e-3
SAME_ORIGIN_MM: Final = 1e-2
SAME_AXES: Final = 1e-4
"""Up to here two placements are the same."""


def crop(volume: Volume, box: Box) -> Volume:
    """The voxels of a box, as a view of the same memory with its own place in the patient."""
    place = volume.placement
    starts_mm = [part.start * spacing for part, spacing in zip(box, place.spacing_mm, strict=True)]
    origin = np.asarray(place.origin_mm) + starts_mm @ np.asarray(place.axes, dtype=np.float64)
    moved = replace(place, origin_mm=triple_of_floats(origin.tolist()))
    return replace(volume, array_zyx=volume.array_zyx[box], placement=moved)


def same_placement(one: Placement, other: Placement, tolerance_mm: float = SAME_SPACING_MM) -> bool:
    """Whether two placements agree: spacing and origin within `tolerance_mm`, axes within 1e-4."""
    return (
        np.allclose(one.spacing_mm, other.spacing_mm, rtol=0, atol=tolerance_mm)
        and np.allclose(one.origin_mm, other.origin_mm, rtol=0, atol=max(tolerance_mm, SAME_ORIGIN_MM))
        and np.allclose(one.axes, other.axes, rtol=0, atol=SAME_AXES)
    )


def how_grids_differ(one: Volume, other: Volume) -> str:
    """In words, in what of shape, spacing, origin and axes two grids that are not the same differ, and by what."""
    place, other_place = one.placement, other.placement
    pairs: dict[str, tuple[Any, Any]] = {
        "shape": (one.shape, other.shape),
        "spacing (mm)": (place.spacing_mm, other_place.spacing_mm),
        "origin (mm)": (place.origin_mm, other_place.origin_mm),
        "axes": (place.axes, other_place.axes),
    }
    tolerances = {"shape": 0.0, "spacing (mm)": SAME_SPACING_MM, "origin (mm)": SAME_ORIGIN_MM, "axes": SAME_AXES}
    return ", ".join(
        f"{name} {_in_words(found)} against {_in_words(expected)}"
        for name, (found, expected) in pairs.items()
        if not np.allclose(found, expected, rtol=0, atol=tolerances[name])
    )


def _in_words(numbers: Any) -> str:
    if isinstance(numbers, tuple):
        return f"({', '.join(_in_words(number) for number in numbers)})"
    return f"{numbers:.6g}"
