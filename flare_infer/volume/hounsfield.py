"""Whether intensities look like Hounsfield units, judged by how many voxels are as dense as fat, organs and bone."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Box, Spacing, steps_apart

_SAMPLED_MM: Final = 3.0
"""Voxels about so far apart are judged; how finely a scan is reconstructed makes no difference."""

_FEWEST_SAMPLES: Final = 1000
_FEWEST_PLANES: Final = 3
"""Of fewer voxels, or of a scout, no histogram is taken: all that is asked then is that some value is negative."""

_SOFT_HU: Final = (-200.0, 300.0)
_FAT_HU: Final = (-200.0, -20.0)
"""From fat to vessels with contrast; and fat, which in real scans is a fifth or more of that."""

_BODY_ABOVE_HU: Final = -500.0
_DENSE_ABOVE_HU: Final = 500.0

_NARROWEST_HU: Final = 100.0
_LEAST_SOFT: Final = 0.01
_LEAST_FAT: Final = 0.02
_MOST_DENSE: Final = 0.25
"""Bounds far from what is right: in 29 real CTs at least 1292 HU, .24 and .22, and at most .03."""

_OFFSET_HU: Final = 1024.0
"""What scanners add to store intensities without a sign."""

_WHAT_IS_RIGHT: Final = "in Hounsfield units air is -1000, fat -100 and muscle 50"


def intensity_doubts(
    array_zyx: npt.NDArray[Any], box: Box, spacing_mm: Spacing, verb: str = "segment"
) -> tuple[str, ...]:
    """What speaks against Hounsfield units: nothing, or one line for the user.

    Args:
        array_zyx: a scan (z, y, x); values that are no numbers are passed over.
        box: the part of it that is no padding.
        spacing_mm: distance between voxel centers along (z, y, x), in mm.
        verb: what the user is advised to do with the CT once its values are right.
    """
    steps = steps_apart(spacing_mm, _SAMPLED_MM)
    sampled = array_zyx[box][tuple(slice(None, None, step) for step in steps)]
    values = sampled[np.isfinite(sampled)].astype(np.float32)
    if len(values) < _FEWEST_SAMPLES or min(array_zyx[box].shape) < _FEWEST_PLANES:
        return _doubts_of_few(array_zyx, verb)
    if (found := _fault(values)) is None:
        return ()
    if _fault(values - _OFFSET_HU) is None:
        advice = f"as if the offset of 1024 were not yet subtracted; subtract 1024 and {verb} again"
    elif _fault(values + _OFFSET_HU) is None:
        advice = f"as if the offset of 1024 were subtracted twice; add 1024 and {verb} again"
    else:
        advice = f"{_WHAT_IS_RIGHT}; {verb} the CT as the scanner stored it, before anything scaled it"
    return (f"as if these were no Hounsfield units: {found}; {advice}",)


def _fault(values: npt.NDArray[np.float32]) -> str | None:
    """What no CT in Hounsfield units has, in words; None for one that may be right."""
    low, high = np.percentile(values, (0.5, 99.5))
    if high - low < _NARROWEST_HU:
        return f"nearly all values lie between {low:.4g} and {high:.4g}"
    soft = int(np.count_nonzero(_within(values, _SOFT_HU)))
    if soft < _LEAST_SOFT * len(values):
        return f"{soft / len(values):.1%} of the voxels lie between -200 and 300, where fat and organs do"
    dense = np.count_nonzero(values > _DENSE_ABOVE_HU) / max(1, int(np.count_nonzero(values > _BODY_ABOVE_HU)))
    if dense > _MOST_DENSE:
        return f"{dense:.0%} of the body is above 500, as dense as bone"
    fat = np.count_nonzero(_within(values, _FAT_HU)) / soft
    if fat < _LEAST_FAT:
        return f"{fat:.1%} of the soft tissue lies between -200 and -20, where fat does"
    return None


def _within(values: npt.NDArray[np.float32], bounds: tuple[float, float]) -> npt.NDArray[np.bool_]:
    return (values >= bounds[0]) & (values <= bounds[1])


def _doubts_of_few(array_zyx: npt.NDArray[Any], verb: str) -> tuple[str, ...]:
    """Air and fat are negative, so some value is; and some value is a number."""
    lowest = float(np.fmin.reduce(array_zyx, axis=None))
    if lowest < 0:
        return ()
    if np.isnan(lowest):
        return ("no voxel holds a number; all count as air",)
    highest = float(np.fmax.reduce(array_zyx, axis=None))
    return (
        f"no voxel is below 0 (values from {lowest:g} to {highest:g}), as if these were no Hounsfield units; if air is "
        f"0 and water 1024, subtract 1024 and {verb} again",
    )
