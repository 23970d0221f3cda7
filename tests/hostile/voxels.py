"""Voxels that are no Hounsfield units, values beyond all tissue, and scans of odd sizes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.hostile.kind import BRIGHT_HU, DARK_HU, Kind, Truth, intensities, pattern
from tests.hostile.nifti_file import nifti, nifti_of

Writer = Callable[[Path], Truth]
SCOUT = "voxel(s) along an axis"
ONE = "expected one scalar volume of "
NO_FAT = "as if these were no Hounsfield units"


def _with_odd_values() -> tuple[np.ndarray, np.ndarray]:
    bright = pattern()
    values = intensities(bright, "<f8")
    values[2], bright[2] = np.nan, False
    values[3], bright[3] = np.where(bright[3], np.inf, -np.inf), bright[3]
    return values, bright


def _resampled(
    shape: tuple[int, int, int], spacing_zyx: tuple[float, float, float], margin: tuple[int, int, int]
) -> Writer:
    """A scan whose anterior half is bright but for its sides: in corners, one bright value would be padding."""
    bright = np.zeros(shape, dtype=bool)
    side = max(1, shape[2] // 10)
    bright[:, : shape[1] // 2, side:-side] = True
    z, y, x = spacing_zyx

    # Planes of one value would be padding; the model clips what is below -200.
    values = intensities(bright)
    values[~bright] += np.random.default_rng(7).integers(0, 9, np.count_nonzero(~bright)).astype("<i2")

    def write(path: Path) -> Truth:
        nifti_of(
            values,
            bright,
            pixdim=(1, x, y, z, 0, 0, 0, 0),
            srow_x=(-x, 0, 0, 30),
            srow_y=(0, -y, 0, -20),
            srow_z=(0, 0, z, -700),
        )(path)
        return Truth(bright_zyx=bright, margin_zyx=margin)

    return write


_SHIFTED = np.where(pattern(), BRIGHT_HU + 1024, 24).astype("<u2")
_FULL = np.ones((7, 13, 11), dtype=bool)
_PADDED = np.pad(intensities(pattern()), ((2, 5), (40, 0), (30, 60)), constant_values=BRIGHT_HU)
_PADDED_BRIGHT = np.pad(pattern(), ((2, 5), (40, 0), (30, 60)))
_LARGE = pattern((20, 40, 40))
_NOISE = np.random.default_rng(6).integers(0, 20, _LARGE.shape)
_LOST = np.where(np.arange(40) < 4, -2000, intensities(_LARGE) + 1024 + _NOISE).astype("<i2")
_SCALED = (np.where(_LARGE, 1, -1) * (1 - _NOISE / 100)).astype("<f4")
_ODD, _ODD_BRIGHT = _with_odd_values()
_HUGE = np.where(pattern(), 3e38, -3e38).astype("<f4")

KINDS = (
    Kind(
        file="two_axes.nii.gz",
        sentence="2D",
        outcome="refused",
        words=ONE + "3 dimensions, found 2 dimensions (11, 13)",
        write=nifti(dim=(2, 11, 13, 1, 1, 1, 1, 1)),
    ),
    Kind(
        file="one_frame.nii.gz",
        sentence="4D with one frame",
        outcome="segmented",
        write=nifti(dim=(4, 11, 13, 7, 1, 1, 1, 1)),
    ),
    Kind(
        file="no_frame.nii.gz",
        sentence="4D with no frame, which some tools write for one: as ITK reads it",
        outcome="segmented",
        write=nifti(dim=(4, 11, 13, 7, 0, 0, 0, 0)),
    ),
    Kind(
        file="several_frames.nii.gz",
        sentence="4D with several frames",
        outcome="refused",
        words=ONE + "3 dimensions, found 4 dimensions (11, 13, 1, 7); extract one volume first",
        write=nifti(dim=(4, 11, 13, 1, 7, 1, 1, 1)),
    ),
    Kind(
        file="vectors.nii.gz",
        sentence="vectors in the fifth dimension",
        outcome="refused",
        words=ONE + "3 dimensions, found 5 dimensions",
        write=nifti(dim=(5, 11, 13, 1, 1, 7, 1, 1), intent_code=1007),
    ),
    Kind(
        file="rgb.nii.gz",
        sentence="RGB",
        outcome="refused",
        words=ONE + "Hounsfield units, found values of 3 channels (RGB)",
        write=nifti(datatype=128, bitpix=24),
    ),
    Kind(
        file="complex.nii.gz",
        sentence="complex numbers",
        outcome="refused",
        words=ONE + "Hounsfield units, found values of type complex64",
        write=nifti(datatype=32, bitpix=64),
    ),
    Kind(
        file="long_double.nii.gz",
        sentence="floats of 128 bits",
        outcome="refused",
        words=ONE + "Hounsfield units, found values of 128-bit floats",
        write=nifti(datatype=1536, bitpix=128),
    ),
    Kind(
        file="not_a_number.nii.gz",
        sentence="float64 with NaN and infinities: NaN counts as air",
        outcome="segmented",
        write=nifti_of(_ODD, _ODD_BRIGHT),
    ),
    Kind(
        file="no_number_at_all.nii.gz",
        sentence="nothing but NaN",
        outcome="segmented",
        words="no voxel holds a number",
        write=nifti_of(np.full((7, 13, 11), np.nan, "<f4"), ~_FULL),
    ),
    Kind(
        file="huge_floats.nii.gz",
        sentence="float32 at its limits",
        outcome="segmented",
        write=nifti_of(_HUGE, pattern()),
    ),
    *(
        Kind(file=f"{name}.nii.gz", sentence=sentence, outcome="segmented", write=nifti(dtype=code))
        for name, sentence, code in (
            ("int32", "int32", "i4"),
            ("int64", "int64", "i8"),
            ("float32", "float32", "f4"),
        )
    ),
    Kind(
        file="int8.nii.gz",
        sentence="int8",
        outcome="segmented",
        write=nifti_of(np.where(pattern(), 100, -128).astype("i1"), _FULL),
    ),
    Kind(
        file="offset_1024.nii.gz",
        sentence="uint16 with an offset of 1024 that the header does not tell",
        outcome="segmented",
        words="as if these were no Hounsfield units",
        write=nifti_of(_SHIFTED, _FULL),
    ),
    Kind(
        file="offset_told.nii.gz",
        sentence="uint16 with an offset of 1024 as `scl_inter`",
        outcome="segmented",
        write=nifti_of(_SHIFTED, pattern(), scl_inter=-1024),
    ),
    Kind(
        file="mask.nii.gz",
        sentence="a label map in place of a scan",
        outcome="refused",
        words="is a label map, no CT: all voxels are whole numbers from 0 to 1",
        write=nifti_of(pattern().astype("u1"), _FULL),
    ),
    Kind(
        file="codes_as_floats.nii.gz",
        sentence="a label map of 15 codes, stored as float32, with NaN outside",
        outcome="refused",
        words="is a label map, no CT: all voxels are whole numbers from 0 to 14",
        write=nifti_of(np.where(pattern(), np.arange(1001).reshape(7, 13, 11) % 15, np.nan).astype("<f4"), _FULL),
    ),
    Kind(
        file="all_zero.nii.gz",
        sentence="a scan of nothing but zeros",
        outcome="refused",
        words="is a label map, no CT: all voxels are 0",
        write=nifti_of(np.zeros((7, 13, 11), "<i2"), _FULL),
    ),
    Kind(
        file="slope_2.nii.gz",
        sentence="values scaled by `scl_slope` and `scl_inter`",
        outcome="segmented",
        write=nifti_of(np.where(pattern(), 562, 12).astype("<i2"), pattern(), scl_slope=2, scl_inter=-1024),
    ),
    Kind(
        file="slope_0.nii.gz",
        sentence="`scl_slope` 0: the values are stored as they are",
        outcome="segmented",
        write=nifti(scl_slope=0),
    ),
    Kind(
        file="slope_nan.nii.gz",
        sentence="`scl_slope` that is no number: the values are stored as they are",
        outcome="segmented",
        write=nifti(scl_slope=float("nan"), scl_inter=float("nan")),
    ),
    Kind(
        file="constant.nii.gz",
        sentence="the same value everywhere",
        outcome="segmented",
        words="as if these were no Hounsfield units",
        write=nifti(_FULL),
    ),
    Kind(file="all_air.nii.gz", sentence="air everywhere", outcome="segmented", write=nifti(~_FULL)),
    Kind(
        file="padded_bright.nii.gz",
        sentence="planes of one value around a scan, as bright as tissue: they are not looked at",
        outcome="segmented",
        write=nifti_of(_PADDED, _PADDED_BRIGHT),
    ),
    Kind(
        file="offset_padded.nii.gz",
        sentence="an offset of 1024 that was not subtracted, beside padding of -2000",
        outcome="segmented",
        words=NO_FAT,
        write=nifti_of(_LOST, _LOST > 0),
    ),
    Kind(
        file="scaled_to_1.nii.gz",
        sentence="intensities scaled from -1 to 1",
        outcome="segmented",
        words="nearly all values lie between -1 and 1",
        write=nifti_of(_SCALED, np.ones_like(_LARGE)),
    ),
    Kind(
        file="metal.nii.gz",
        sentence="metal at 30000 HU",
        outcome="segmented",
        write=nifti_of(np.where(pattern(), 30000, DARK_HU).astype("<i2"), pattern()),
    ),
    Kind(
        file="one_voxel.nii.gz",
        sentence="one voxel",
        outcome="segmented",
        words=SCOUT,
        write=nifti(_FULL[:1, :1, :1] & False),
    ),
    Kind(
        file="one_slice.nii.gz",
        sentence="one slice",
        outcome="segmented",
        words=SCOUT,
        write=nifti(pattern((1, 13, 11))),
    ),
    Kind(
        file="scout_from_the_side.nii.gz",
        sentence="a scout (topogram) from the side: two voxels from left to right",
        outcome="segmented",
        words=SCOUT,
        write=nifti(pattern((7, 13, 2))),
    ),
    Kind(
        file="needle.nii.gz",
        sentence="2 x 2 x 2000 voxels",
        outcome="segmented",
        words=SCOUT,
        write=nifti(pattern((2000, 2, 2))),
    ),
    Kind(
        file="sheet.nii.gz",
        sentence="2000 x 2000 x 2 voxels of 0.4 x 0.5 x 3 mm",
        outcome="segmented",
        words=SCOUT,
        write=_resampled((2, 2000, 2000), (3.0, 0.5, 0.4), (1, 4, 4)),
    ),
    Kind(
        file="fine.nii.gz",
        sentence="a spacing of 0.1 mm",
        outcome="segmented",
        write=_resampled((60, 160, 90), (0.1, 0.1, 0.1), (30, 20, 15)),
    ),
    Kind(
        file="coarse.nii.gz",
        sentence="a spacing of 20 mm",
        outcome="segmented",
        write=_resampled((5, 6, 7), (20.0, 20.0, 20.0), (1, 1, 1)),
    ),
)
