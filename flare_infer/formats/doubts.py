"""What a file says of its own grid that cannot all be true, or is unlike a CT's: a line each, for the user."""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from flare_infer.formats.nifti import Header
from flare_infer.formats.plausible import MOST_REPAIRED_DEG, shear_deg

UNEQUAL_SLICES: Final = "itk_non_uniform_sampling_deviation"
"""The field, in lower case, in which ITK notes by how many mm slices of a DICOM series miss their places."""

_FEW_VOXELS: Final = 2
_SAME_SPACING: Final = 0.01
"""Of a spacing, up to here two statements about it are one; so is a deviation of slices."""

_SAME_AXIS_DEG: Final = 1.0


def scout_doubts(lengths: tuple[int, int, int]) -> tuple[str, ...]:
    """A scan of one or two voxels along an axis is a scout (topogram), or a single slice that lost its neighbors."""
    if min(lengths) > _FEW_VOXELS:
        return ()
    size = " x ".join(map(str, lengths))
    return (f"only {min(lengths)} voxel(s) along an axis ({size}): a scout or a single slice, no volume to segment",)


def unequal_slices(fields: Mapping[str, str], slice_mm: float) -> tuple[str, ...]:
    """What ITK noted when it put slices of unequal distances on a grid of equal ones.

    Args:
        fields: fields of the header, by their names in lower case.
        slice_mm: the distance of slices that the header says.
    """
    try:
        deviation_mm = abs(float(fields.get(UNEQUAL_SLICES, "0")))
    except ValueError:
        return ()
    if not math.isfinite(deviation_mm) or deviation_mm <= _SAME_SPACING * slice_mm:
        return ()
    return (
        f"the slices are not equally spaced: up to {deviation_mm:g} mm off, as ITK noted when it converted them "
        "(are some missing?); organs are displaced and volumes wrong there",
    )


def form_doubts(header: Header) -> tuple[str, ...]:
    """Where a NIfTI header says two things of spacing or direction, of which ITK takes one."""
    doubts = []
    qform_code, sform_code = header.form_codes
    if not (qform_code > 0 or sform_code > 0):
        doubts.append(
            "the header does not say how the patient lies (qform and sform are unset); left and right may be exchanged"
        )
    columns = header.affine
    lengths = np.linalg.norm(columns, axis=0)
    if sform_code > 0 and lengths.all():
        sheared = shear_deg(columns) > MOST_REPAIRED_DEG  # then they are no spacings
        spacing = np.asarray(header.spacing_mm)
        if not sheared and (np.abs(lengths / spacing - 1) > _SAME_SPACING).any():
            said, other = (" x ".join(f"{value:.4g}" for value in values) for values in (spacing, lengths))
            doubts.append(
                f"the header says two spacings: {said} by pixdim, which is taken as ITK does, {other} by the sform; "
                "if the sform is right, every size is wrong: correct pixdim"
            )
        if qform_code > 0:
            cosines = np.einsum("ij,ij->j", columns / lengths, header.qform_axes)
            apart_deg = float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())
            if apart_deg > _SAME_AXIS_DEG:
                doubts.append(
                    f"qform and sform turn the patient differently, by up to {apart_deg:.3g} degrees, and one is "
                    "taken as ITK does: see that left and right are right, and correct the other"
                )
    return tuple(doubts)
