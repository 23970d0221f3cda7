"""RTSTRUCT: outlines, filled again by another library, hold the same pixels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from matplotlib.path import Path as Polygon
from pydicom.dataset import Dataset

from flare_eval.accuracy.dice import dice_of_masks
from flare_infer.errors import ImageError
from flare_infer.exports.contours import outlines
from flare_infer.exports.rtstruct import write_rtstruct
from flare_infer.labels import LIVER, NAMES, SPLEEN
from flare_infer.results.case import SegmentedCase
from tests.dicom.kinds import TURNED
from tests.dicom.series import Made, phantom
from tests.flare_infer.exports.made import SHAPE, case, hard_labels
from tests.flare_infer.exports.test_dicom_seg import SOURCES, no_errors


@pytest.fixture(params=SOURCES.values(), ids=SOURCES)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> SegmentedCase:
    return case(tmp_path / "series", **request.param)


def filled(shape: tuple[int, int], polygons: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.bool_]:
    """The pixels whose centers lie in an odd number of polygons."""
    y, x = np.indices(shape)
    centers = np.column_stack([x.ravel(), y.ravel()])
    inside = np.zeros(x.size, np.bool_)
    for polygon in polygons:
        inside ^= Polygon(np.concatenate([polygon, polygon[:1]]), closed=True).contains_points(centers)
    return inside.reshape(shape)


def read_back(path: Path, case: SegmentedCase) -> npt.NDArray[np.uint8]:
    """The label map that the contours of a file enclose, by their coordinates alone."""
    place = case.labels.placement
    labels = np.zeros(case.labels.shape, np.uint8)
    for code, roi in enumerate(pydicom.dcmread(path).ROIContourSequence, start=1):
        planes: dict[int, list[npt.NDArray[np.float64]]] = {}
        for contour in roi.get("ContourSequence", []):
            points = np.asarray(contour.ContourData, np.float64).reshape(-1, 3) - place.origin_mm
            assert len(points) == contour.NumberOfContourPoints
            z, y, x = (points @ np.asarray(place.axes).T / place.spacing_mm).T
            np.testing.assert_allclose(z, round(z[0]), atol=2e-3)
            planes.setdefault(round(z[0]), []).append(np.column_stack([x, y]))
        for z, polygons in planes.items():
            labels[z][filled(case.labels.shape[1:], polygons)] = code
    return labels


def test_the_outlines_enclose_the_same_pixels(made: SegmentedCase, tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "a.dcm", made)
    np.testing.assert_array_equal(read_back(tmp_path / "a.dcm", made), made.labels.array_zyx)


def test_coordinates_are_the_same_however_few_are_kept_as_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = case(tmp_path / "series", Made(array_zyx=phantom(SHAPE, 0), axes=TURNED))
    found = []
    for most in (10_000, 2):
        monkeypatch.setattr("flare_infer.exports.rtstruct._MOST_TEXTS", most)
        write_rtstruct(tmp_path / "a.dcm", made)
        structures = pydicom.dcmread(tmp_path / "a.dcm").ROIContourSequence
        found.append([list(one.ContourData) for roi in structures for one in roi.get("ContourSequence", [])])
    assert found[0]
    assert found[0] == found[1]


@pytest.mark.parametrize("axes", [(1, 0, 0, 0, 1, 0), TURNED, (-1, 0, 0, 0, 1, 0)], ids=["axial", "oblique", "feet"])
def test_rt_utils_fills_the_same_pixels(axes: tuple[float, ...], tmp_path: Path) -> None:
    """It rounds corners to pixels, and takes planes for square.

    Its package holds a module `tests`, so it is never installed beside ours.
    """
    rt_utils = pytest.importorskip("rt_utils", reason="rt-utils is not on the path (pip install --no-deps --target)")
    labels = np.zeros((12, 27, 27), np.uint8)
    labels[:, :21] = hard_labels()
    square = Made(array_zyx=phantom(labels.shape), spacing=(1.0, 1.0, 1.0), axes=tuple(map(float, axes)))
    made = case(tmp_path / "series", square, labels)
    write_rtstruct(tmp_path / "a.dcm", made)
    read = rt_utils.RTStructBuilder.create_from(str(tmp_path / "series"), str(tmp_path / "a.dcm"))
    for code in np.unique(labels[labels > 0]).tolist():
        found = np.moveaxis(read.get_roi_mask_by_name(NAMES[code]), 2, 0)
        # Its slices follow another rule where the patient lies feet first.
        scores = [dice_of_masks(one, labels == code) for one in (found, found[::-1])]
        assert max(scores) == 1.0, NAMES[code]


def test_it_is_valid(made: SegmentedCase, tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "a.dcm", made)
    no_errors(tmp_path / "a.dcm")


def test_it_is_valid_when_nothing_is_found(tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "a.dcm", case(tmp_path / "series", labels=np.zeros(SHAPE, np.uint8)))
    ds = pydicom.dcmread(tmp_path / "a.dcm")
    assert [one.ROIName for one in ds.StructureSetROISequence] == list(NAMES[1:])
    assert not any("ContourSequence" in one for one in ds.ROIContourSequence)
    no_errors(tmp_path / "a.dcm")


def test_each_contour_names_the_image_it_lies_on(made: SegmentedCase, tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "a.dcm", made)
    assert made.source is not None
    known = {}
    for one in made.source.slices:
        image: Dataset = pydicom.dcmread(one.pixels.file, stop_before_pixels=True)
        known[image.SOPInstanceUID, one.frame + 1 if one.pixels.frames > 1 else None] = one
    ds = pydicom.dcmread(tmp_path / "a.dcm")
    without = 0
    for roi in ds.ROIContourSequence:
        for contour in roi.get("ContourSequence", []):
            if "ContourImageSequence" not in contour:
                without += 1
                continue
            (image,) = contour.ContourImageSequence
            one = known[image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber")]
            away = np.asarray(contour.ContourData[:3], np.float64) - one.position_mm
            assert abs(away @ np.cross(one.axes[:3], one.axes[3:])) < 1e-3
    assert (without > 0) == (made.source.gap is not None)
    (frame,) = ds.ReferencedFrameOfReferenceSequence
    (series,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert len(series.ContourImageSequence) == len(made.source.files)
    assert {one.ReferencedFrameOfReferenceUID for one in ds.StructureSetROISequence} == {frame.FrameOfReferenceUID}


def test_only_the_chosen_structures_are_written_and_codes_tell_what_they_are(tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "a.dcm", case(tmp_path / "series"), codes=[LIVER, SPLEEN])
    ds = pydicom.dcmread(tmp_path / "a.dcm")
    assert [one.ROIName for one in ds.StructureSetROISequence] == ["liver", "spleen"]
    found = [one.RTROIIdentificationCodeSequence[0].CodeValue for one in ds.RTROIObservationsSequence]
    assert found == ["10200004", "78961009"]
    assert list(ds.ROIContourSequence[0].ROIDisplayColor) == [214, 124, 66]


def test_without_dicom_there_is_nothing_to_refer_to(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="RTSTRUCT refers to DICOM images"):
        write_rtstruct(tmp_path / "a.dcm", replace(case(tmp_path / "series"), source=None))


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_outlined_without_a_pixel_lost(seed: int) -> None:
    """With holes in holes, corners that touch, and pixels at the edges."""
    mask = np.random.default_rng(seed).random((17, 23)) < (0.3, 0.5, 0.6, 0.8)[seed % 4]
    rings = outlines(mask)
    np.testing.assert_array_equal(filled(mask.shape, rings), mask)


def test_a_hole_is_joined_to_its_outline_so_that_no_reader_fills_it() -> None:
    mask = hard_labels()[2] == LIVER
    (ring,) = outlines(mask)
    np.testing.assert_array_equal(filled(mask.shape, [ring]), mask)


def test_outlines_have_no_needless_corners_and_the_area_of_the_mask() -> None:
    mask = np.zeros((40, 60), np.bool_)
    mask[5:30, 10:50] = True
    (ring,) = outlines(mask)
    x, y = ring.T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert len(ring) == 8
    assert area == pytest.approx(mask.sum(), rel=0.01)
