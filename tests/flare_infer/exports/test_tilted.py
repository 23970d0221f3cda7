"""SEG and RTSTRUCT of a tilted gantry: labels were found on an upright grid and belong to the pixels of the slices."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest

from flare_infer.exports.dicom_seg import write_dicom_seg
from flare_infer.exports.rtstruct import write_rtstruct
from flare_infer.results.case import SegmentedCase
from tests.dicom.series import Made
from tests.flare_infer.exports.made import SHAPE, case, hard_labels, volume
from tests.flare_infer.exports.test_dicom_seg import no_errors
from tests.flare_infer.exports.test_rtstruct import filled

TILTED = {
    "tilted": Made(array_zyx=volume(), lean_mm=0.7),
    "the other way, prone": Made(array_zyx=volume(), lean_mm=-0.7, axes=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0)),
}
"""Each slice lies one row farther than the one before, so that nothing is rounded."""


@pytest.fixture(params=TILTED.values(), ids=TILTED)
def made(request: pytest.FixtureRequest) -> Made:
    found: Made = request.param
    return found


@pytest.fixture
def tilted(made: Made, tmp_path: Path) -> SegmentedCase:
    count, rows, columns = SHAPE
    upright = np.zeros((count, rows + count - 1, columns), np.uint8)
    for index, plane in enumerate(hard_labels()):
        start = index if made.lean_mm > 0 else count - 1 - index
        upright[index, start : start + rows] = plane
    return case(tmp_path / "series", made, upright)


def slice_at(made: Made, position: object) -> int:
    """The index of the slice whose header gives a position."""
    distances = [float(np.abs(np.subtract(position, made.position(index))).max()) for index in range(SHAPE[0])]
    assert min(distances) < 1e-3
    return int(np.argmin(distances))


def test_each_frame_of_a_segmentation_lies_on_its_slice(made: Made, tilted: SegmentedCase, tmp_path: Path) -> None:
    write_dicom_seg(tmp_path / "a.dcm", tilted)
    no_errors(tmp_path / "a.dcm")
    seg = pydicom.dcmread(tmp_path / "a.dcm")
    codes = {item.SegmentNumber: tilted.names.index(item.SegmentLabel) for item in seg.SegmentSequence}
    found = np.zeros(SHAPE, np.uint8)
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        index = slice_at(made, groups.PlanePositionSequence[0].ImagePositionPatient)
        found[index][frame > 0] = codes[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
    np.testing.assert_array_equal(found, hard_labels())


def test_contours_lie_on_the_slices(made: Made, tilted: SegmentedCase, tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "a.dcm", tilted)
    no_errors(tmp_path / "a.dcm")
    found = np.zeros(SHAPE, np.uint8)
    for code, roi in enumerate(pydicom.dcmread(tmp_path / "a.dcm").ROIContourSequence, start=1):
        rings: dict[int, list[npt.NDArray[np.float64]]] = {}
        for contour in roi.get("ContourSequence", []):
            points = np.asarray(contour.ContourData, np.float64).reshape(-1, 3)
            along = (points - made.origin) @ made.normal / made.spacing[0]
            index = round(float(along[0]))
            np.testing.assert_allclose(along, index, atol=2e-3)
            moved = points - made.position(index)
            x, y = (moved @ np.asarray(axis) for axis in (made.axes[:3], made.axes[3:]))
            rings.setdefault(index, []).append(np.column_stack([x / made.spacing[2], y / made.spacing[1]]))
        for index, polygons in rings.items():
            found[index][filled(SHAPE[1:], polygons)] = code
    np.testing.assert_array_equal(found, hard_labels())
