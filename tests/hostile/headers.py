"""NIfTI headers that claim too much data, impossible values, or values that contradict each other."""

from pathlib import Path

import numpy as np

from tests.hostile.kind import SPACING_MM, Kind, Truth, pattern
from tests.hostile.nifti_file import nifti

NAN, INF = float("nan"), float("inf")
Z, Y, X = SPACING_MM
BROKEN = "the header is damaged: found "
SIZE = (11, 13, 7)


def _rows(columns: np.ndarray) -> dict[str, object]:
    """An sform of three columns (RAS, in mm)."""
    origin = (30, -20, -700)
    return {f"srow_{'xyz'[row]}": (*columns[row].tolist(), origin[row]) for row in range(3)}


def _sheared(degrees: float) -> dict[str, object]:
    """The y axis leans toward x; qform is unset, so that the sform alone counts."""
    columns = np.diag((-X, -Y, Z))
    columns[0, 1] = -Y * np.tan(np.radians(degrees))
    return {"qform_code": 0, **_rows(columns)}


def _turned(degrees: float) -> dict[str, object]:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    return {"qform_code": 0, **_rows(turn @ np.diag((-X, -Y, Z)))}


def _nearly(path: Path) -> Truth:
    """Shear of 0.2 degrees: the axes are squared up, each turned by half of it."""
    nifti(**_sheared(0.2))(path)
    cos, sin = float(np.cos(np.radians(0.1))), float(np.sin(np.radians(0.1)))
    direction = (cos, sin, 0.0, -sin, cos, 0.0, 0.0, 0.0, 1.0)
    return Truth(bright_zyx=pattern(), geometry=(SIZE, (X, Y, Z), (-30.0, 20.0, -700.0), direction))


def _spacing(*xyz: float) -> dict[str, object]:
    return {"pixdim": (1, *xyz, 0, 0, 0, 0)}


_SPACING = "a spacing of {} mm, expected three positive numbers"

KINDS = (
    Kind(
        file="terabytes.nii",
        sentence="a header that promises 70 TB of voxels, in 2 KB",
        outcome="refused",
        words="the file is cut short: expected 70362301923678 bytes",
        write=nifti(dim=(3, 32767, 32767, 32767, 1, 1, 1, 1), **_spacing(0.1, 0.1, 0.1)),
    ),
    Kind(
        file="terabytes_gzipped.nii.gz",
        sentence="the same, gzipped",
        outcome="refused",
        words="the file is cut short: expected 70362301923678 bytes",
        write=nifti(dim=(3, 32767, 32767, 32767, 1, 1, 1, 1), **_spacing(0.1, 0.1, 0.1)),
    ),
    Kind(
        file="seven_axes.nii.gz",
        sentence="a header of seven axes of 32767 voxels",
        outcome="refused",
        words="found 7 dimensions",
        write=nifti(dim=(7, *(32767,) * 7)),
    ),
    Kind(
        file="no_axes.nii.gz",
        sentence="a header of no axes",
        outcome="refused",
        words=BROKEN + "0 axes, expected 1 to 7",
        write=nifti(dim=(0,) * 8),
    ),
    Kind(
        file="nine_axes.nii.gz",
        sentence="a header of nine axes, of which NIfTI has room for seven",
        outcome="refused",
        words=BROKEN + "9 axes, expected 1 to 7",
        write=nifti(dim=(9, 11, 13, 7, 1, 1, 1, 1)),
    ),
    Kind(
        file="axis_of_zero.nii.gz",
        sentence="no voxels along an axis",
        outcome="refused",
        words=BROKEN + "voxels 11 x 13 x 0",
        write=nifti(dim=(3, 11, 13, 0, 1, 1, 1, 1)),
    ),
    Kind(
        file="axis_below_zero.nii.gz",
        sentence="a negative number of voxels along an axis",
        outcome="refused",
        words=BROKEN + "voxels 11 x -13 x 7",
        write=nifti(dim=(3, 11, -13, 7, 1, 1, 1, 1)),
    ),
    Kind(
        file="unknown_type.nii.gz",
        sentence="a data type that NIfTI does not know",
        outcome="refused",
        words=BROKEN + "data type 9999",
        write=nifti(datatype=9999),
    ),
    Kind(
        file="voxels_at_0.nii.gz",
        sentence="voxels that begin inside the header",
        outcome="refused",
        words=BROKEN + "voxels at byte 0",
        write=nifti(vox_offset=0),
    ),
    Kind(
        file="voxels_at_nan.nii.gz",
        sentence="voxels that begin at a byte that is no number",
        outcome="refused",
        words=BROKEN + "voxels at byte nan",
        write=nifti(vox_offset=NAN),
    ),
    Kind(
        file="voxels_far_behind.nii.gz",
        sentence="voxels that begin a gigabyte behind the end",
        outcome="refused",
        words="the file is cut short: expected 1000002002 bytes",
        write=nifti(vox_offset=1e9),
    ),
    Kind(
        file="bits_lie.nii.gz",
        sentence="a field `bitpix` that contradicts the data type",
        outcome="segmented",
        write=nifti(bitpix=8),
    ),
    Kind(
        file="spacing_zero.nii.gz",
        sentence="a spacing of zero",
        outcome="refused",
        words=_SPACING.format("1.5 x 0 x 3"),
        write=nifti(**_spacing(X, 0, Z)),
    ),
    Kind(
        file="spacing_negative.nii.gz",
        sentence="a negative spacing",
        outcome="refused",
        words=_SPACING.format("-1.5 x 2 x 3"),
        write=nifti(**_spacing(-X, Y, Z)),
    ),
    Kind(
        file="spacing_nan.nii.gz",
        sentence="a spacing that is no number",
        outcome="refused",
        words=_SPACING.format("1.5 x 2 x nan"),
        write=nifti(**_spacing(X, Y, NAN)),
    ),
    Kind(
        file="spacing_infinite.nii.gz",
        sentence="an infinite spacing",
        outcome="refused",
        words=_SPACING.format("inf x 2 x 3"),
        write=nifti(**_spacing(INF, Y, Z)),
    ),
    Kind(
        file="meters.nii.gz",
        sentence="a spacing whose unit is said to be the meter",
        outcome="refused",
        words="expected a spacing between 0.01 and 100 mm, found 1500 x 2000 x 3000 mm",
        write=nifti(xyzt_units=1),
    ),
    Kind(
        file="micrometers.nii.gz",
        sentence="a spacing whose unit is said to be the micrometer",
        outcome="refused",
        words="expected a spacing between 0.01 and 100 mm, found 0.0015 x 0.002 x 0.003 mm",
        write=nifti(xyzt_units=3),
    ),
    Kind(
        file="unit_unknown.nii.gz",
        sentence="no unit of length: millimeters",
        outcome="segmented",
        write=nifti(xyzt_units=0),
    ),
    Kind(
        file="long_patient.nii.gz",
        sentence="a patient of 40 meters",
        outcome="refused",
        words="expected a scan of at most 10000 mm, found 40000 mm",
        write=nifti(pattern((400, 2, 2)), **_spacing(X, Y, 100)),
    ),
    Kind(
        file="origin_nan.nii.gz",
        sentence="an origin that is no number",
        outcome="refused",
        words=BROKEN + "coordinates that are no numbers",
        write=nifti(srow_x=(-X, 0, 0, NAN)),
    ),
    Kind(
        file="origin_far.nii.gz",
        sentence="an origin of 1e30 mm",
        outcome="refused",
        words=BROKEN + "coordinates that are no numbers or beyond a kilometer",
        write=nifti(srow_x=(-X, 0, 0, 1e30)),
    ),
    Kind(
        file="axes_nan.nii.gz",
        sentence="axes that are no numbers",
        outcome="refused",
        words=BROKEN + "coordinates that are no numbers",
        write=nifti(srow_y=(0, NAN, 0, -20)),
    ),
    Kind(
        file="quaternion_nan.nii.gz",
        sentence="a qform that is no number",
        outcome="refused",
        words=BROKEN + "coordinates that are no numbers",
        write=nifti(sform_code=0, qform=(0, NAN, 1, 30, -20, -700)),
    ),
    Kind(
        file="axis_missing.nii.gz",
        sentence="an axis without direction",
        outcome="refused",
        words="an axis has no direction",
        write=nifti(qform_code=0, srow_x=(0, 0, 0, 30)),
    ),
    Kind(
        file="forms_disagree.nii.gz",
        sentence="qform and sform that put the patient in different places and turn it differently: as ITK decides",
        outcome="segmented",
        words="qform and sform turn the patient differently, by up to 30 degrees",
        write=nifti(sform_code=2, **{key: value for key, value in _turned(30).items() if key != "qform_code"}),
    ),
    Kind(
        file="forms_mirrored.nii.gz",
        sentence="qform and sform that disagree about left and right: as ITK decides",
        outcome="segmented",
        words="qform and sform turn the patient differently, by up to 180 degrees",
        write=nifti(srow_x=(X, 0, 0, -80)),
    ),
    Kind(
        file="sform_of_other_spacing.nii.gz",
        sentence="an sform whose spacing is not that of the header: as ITK decides",
        outcome="segmented",
        words="the header says two spacings: 1.5 x 2 x 3 by pixdim, which is taken as ITK does, 6 x 2 x 3 by the sform",
        write=nifti(srow_x=(-4 * X, 0, 0, 30)),
    ),
    Kind(
        file="sform_sheared_qform_not.nii.gz",
        sentence="a sheared sform beside a qform with right angles: as ITK decides, by the qform",
        outcome="segmented",
        words="by up to 10 degrees",
        write=nifti(**{key: value for key, value in _sheared(10).items() if key != "qform_code"}),
    ),
    Kind(
        file="no_forms.nii.gz",
        sentence="neither qform nor sform",
        outcome="segmented",
        words="left and right may be exchanged",
        write=nifti(qform_code=0, sform_code=0),
    ),
    Kind(file="qform_alone.nii.gz", sentence="a qform alone", outcome="segmented", write=nifti(sform_code=0)),
    Kind(
        file="qfac_zero.nii.gz",
        sentence="a qform whose handedness is unset",
        outcome="segmented",
        write=nifti(sform_code=0, pixdim=(0, X, Y, Z, 0, 0, 0, 0)),
    ),
    Kind(
        file="left_handed.nii.gz",
        sentence="left-handed axes",
        outcome="segmented",
        write=nifti(qform_code=0, srow_x=(X, 0, 0, 30)),
    ),
    Kind(
        file="permuted.nii.gz",
        sentence="the first axis runs from feet to head",
        outcome="segmented",
        write=nifti(
            qform_code=0,
            pixdim=(1, Z, Y, X, 0, 0, 0, 0),
            srow_x=(0, 0, -X, 30),
            srow_y=(0, -Y, 0, -20),
            srow_z=(Z, 0, 0, -700),
        ),
    ),
    Kind(
        file="oblique.nii.gz",
        sentence="axes turned by 20 degrees against the patient's",
        outcome="segmented",
        write=nifti(**_turned(20)),
    ),
    Kind(
        file="nearly_orthonormal.nii.gz",
        sentence="axes 0.2 degrees off right angles: squared up",
        outcome="segmented",
        write=_nearly,
    ),
    Kind(
        file="sheared.nii.gz",
        sentence="axes 10 degrees off right angles (a tilted gantry)",
        outcome="refused",
        words="the axes miss right angles by 10 degrees",
        write=nifti(**_sheared(10)),
    ),
    Kind(
        file="axes_collapsed.nii.gz",
        sentence="two axes that are nearly one",
        outcome="refused",
        words="the axes miss right angles by 89 degrees",
        write=nifti(**_sheared(89)),
    ),
)
