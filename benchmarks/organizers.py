"""The organizers' scoring in plain words: what ours is measured against and must agree with.

Every class over the full volume, one after the other, with the package `surface-distance`, on volumes read as 64-bit
floats by nibabel. Slow and large on purpose: this is how the challenge computes.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

TOLERANCES_MM = (5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3, 2)
SLICE_WISE = (5, 6, 10)
LEAST_DSC = 0.2

Scores = dict[int, tuple[float, float]]
"""DSC and NSD by code."""


@contextmanager
def surface_distance_package() -> Iterator[ModuleType]:
    """The package, made to run with today's numpy and scipy: it uses a name that numpy 2 dropped, and warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        had = "Inf" in vars(np)
        if not had:
            np.Inf = np.inf  # type: ignore[attr-defined]
        try:
            import surface_distance

            yield surface_distance
        finally:
            if not had:
                del np.Inf  # type: ignore[attr-defined]


def score_files(prediction: Path, reference: Path) -> Scores:
    """Read two files and score all classes."""
    import nibabel

    of_reference = nibabel.load(reference)
    spacing = [float(value) for value in of_reference.header.get_zooms()[:3]]
    reference_xyz = of_reference.get_fdata().astype(np.int8)
    prediction_xyz = nibabel.load(prediction).get_fdata().astype(np.int8)
    return score_maps(prediction_xyz, reference_xyz, spacing)


def score_maps(prediction_xyz: npt.NDArray[Any], reference_xyz: npt.NDArray[Any], spacing: list[float]) -> Scores:
    """Score all classes of two label maps whose last axis is that of slices."""
    return {
        code: tuple(np.round(_score(prediction_xyz, reference_xyz, code, spacing), 4).tolist())
        for code in range(1, len(TOLERANCES_MM) + 1)
    }


def nsd(prediction: npt.NDArray[np.bool_], reference: npt.NDArray[np.bool_], spacing: list[float], mm: float) -> float:
    """NSD of two masks by the package."""
    with surface_distance_package() as package:
        distances = package.compute_surface_distances(reference, prediction, spacing)
        return float(package.compute_surface_dice_at_tolerance(distances, mm))


def _score(
    prediction_xyz: npt.NDArray[Any], reference_xyz: npt.NDArray[Any], code: int, spacing: list[float]
) -> tuple[float, float]:
    in_reference, in_prediction = np.sum(reference_xyz == code), np.sum(prediction_xyz == code)
    if in_reference == 0 and in_prediction == 0:
        return 1.0, 1.0
    if in_reference == 0 or in_prediction == 0:
        return 0.0, 0.0
    reference, prediction = reference_xyz == code, prediction_xyz == code
    if code in SLICE_WISE:
        slices = np.where(reference)[2]
        reference = reference[:, :, slices.min() : slices.max()]
        prediction = prediction[:, :, slices.min() : slices.max()]
    with surface_distance_package() as package:
        dsc = float(package.compute_dice_coefficient(reference, prediction))
    if dsc < LEAST_DSC:
        return dsc, 0.0
    return dsc, nsd(prediction, reference, spacing, TOLERANCES_MM[code - 1])
