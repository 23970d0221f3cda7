"""DICOM SEG, read back by programs that others wrote."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset

from flare_infer.errors import ImageError
from flare_infer.exports.dicom_seg import write_dicom_seg
from flare_infer.labels import LEFT_KIDNEY, NAMES, RIGHT_KIDNEY, SPLEEN
from flare_infer.results.case import SegmentedCase
from tests.dicom.kinds import TURNED
from tests.dicom.series import PATIENT, Made, with_changes
from tests.flare_infer.exports.made import SHAPE, case, hard_labels, volume

SOURCES: dict[str, dict[str, Any]] = {
    "axial": {},
    "oblique": {"made": Made(array_zyx=volume(), axes=tuple(map(float, TURNED)))},
    "feet first": {"made": Made(array_zyx=volume(), axes=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0))},
    "multiframe": {"enhanced": True},
    "an interpolated slice": {"leave": (4,)},
}
FORMS = pytest.mark.parametrize("labelmap", [False, True], ids=["BINARY", "LABELMAP"])


@pytest.fixture(params=SOURCES.values(), ids=SOURCES)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> SegmentedCase:
    return case(tmp_path / "series", **request.param)


def no_errors(path: Path) -> None:
    """Held against the standard's tables by dicom3tools."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []


def on_grid(case: SegmentedCase, found: npt.NDArray[Any], first_mm: Any, step_mm: Any) -> npt.NDArray[np.uint8]:
    """Planes that were read back, in those of the label map, by where they lie along the normal."""
    place = case.labels.placement
    labels = np.zeros(case.labels.shape, np.uint8)
    for number, plane in enumerate(found):
        position = np.asarray(first_mm) + number * np.asarray(step_mm) - place.origin_mm
        index, *in_plane = position @ np.asarray(place.axes).T / place.spacing_mm
        np.testing.assert_allclose([index - round(index), *in_plane], 0, atol=1e-3)
        labels[round(index)] = plane
    return labels


@FORMS
def test_highdicom_reads_the_same_labels(made: SegmentedCase, labelmap: bool, tmp_path: Path) -> None:
    seg = pytest.importorskip("highdicom").seg
    write_dicom_seg(tmp_path / "a.dcm", made, labelmap=labelmap)
    read = seg.segread(tmp_path / "a.dcm").get_volume(combine_segments=True, allow_missing_positions=True)
    found = on_grid(made, read.array, read.affine[:3, 3], read.affine[:3, 0])
    np.testing.assert_array_equal(found, made.labels.array_zyx)


@FORMS
def test_dcmqi_reads_the_same_labels(made: SegmentedCase, labelmap: bool, tmp_path: Path) -> None:
    write_dicom_seg(tmp_path / "a.dcm", made, labelmap=labelmap)
    image, described = by_dcmqi(tmp_path / "a.dcm", tmp_path)
    step = np.asarray(image.GetDirection()).reshape(3, 3)[:, 2] * image.GetSpacing()[2]
    found = on_grid(made, sitk.GetArrayFromImage(image), image.GetOrigin(), step)
    np.testing.assert_array_equal(found, made.labels.array_zyx)
    assert [one["SegmentLabel"] for one in described] == list(NAMES[1:])
    assert described[0]["recommendedDisplayRGBValue"] == [214, 124, 66]


def by_dcmqi(path: Path, folder: Path) -> tuple[Any, list[Any]]:
    """The label map and what is said of its segments, as dcmqi reads a file."""
    program = Path(sys.executable).with_name("segimage2itkimage")
    if not program.exists():
        pytest.skip("dcmqi is not installed")
    out = folder / "dcmqi"
    out.mkdir()
    command = [program, "--inputDICOM", path, "--outputDirectory", out, "-t", "nii", "--mergeSegments"]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    groups = json.loads((out / "meta.json").read_text(encoding="utf-8"))["segmentAttributes"]
    return sitk.ReadImage(str(out / "1.nii.gz")), [one for group in groups for one in group]


def test_it_is_valid(made: SegmentedCase, tmp_path: Path) -> None:
    write_dicom_seg(tmp_path / "a.dcm", made)
    no_errors(tmp_path / "a.dcm")


@FORMS
def test_it_is_valid_when_nothing_is_found(labelmap: bool, tmp_path: Path) -> None:
    empty = case(tmp_path / "series", labels=np.zeros(SHAPE, np.uint8))
    write_dicom_seg(tmp_path / "a.dcm", empty, labelmap=labelmap)
    ds = pydicom.dcmread(tmp_path / "a.dcm")
    assert (ds.NumberOfFrames, len(ds.SegmentSequence)) == (1, 14)
    assert not ds.pixel_array.any()
    image, _ = by_dcmqi(tmp_path / "a.dcm", tmp_path)
    assert not sitk.GetArrayFromImage(image).any()
    if not labelmap:
        no_errors(tmp_path / "a.dcm")


def test_it_belongs_to_the_study_of_its_source(tmp_path: Path) -> None:
    def change(ds: Dataset, index: int) -> None:
        ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 192", "Müller^Jörg"
        ds.PatientSex, ds.AccessionNumber, ds.ReferringPhysicianName = "F", "A7", "Roe^R"

    source = case(tmp_path / "series", with_changes(Made(array_zyx=volume()), change))
    write_dicom_seg(tmp_path / "a.dcm", source)
    ds, first = pydicom.dcmread(tmp_path / "a.dcm"), pydicom.dcmread(source.source.files[0])  # type: ignore[union-attr]
    for word in ("StudyInstanceUID", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate"):
        assert ds[word].value == first[word].value
    assert (ds.PatientName, ds.ReferringPhysicianName) == ("Müller^Jörg", "Roe^R")
    assert ds.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert ds.SeriesInstanceUID != first.SeriesInstanceUID
    assert ds.StudyTime == ""
    (series,) = ds.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert len({one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence}) == SHAPE[0]


def test_each_frame_names_the_image_under_it(made: SegmentedCase, tmp_path: Path) -> None:
    write_dicom_seg(tmp_path / "a.dcm", made)
    assert made.source is not None
    by_position = {}
    for one in made.source.slices:
        image = pydicom.dcmread(one.pixels.file, stop_before_pixels=True)
        frame = one.frame + 1 if one.pixels.frames > 1 else None
        by_position[tuple(one.position_mm)] = (image.SOPInstanceUID, frame)
    ds = pydicom.dcmread(tmp_path / "a.dcm")
    unreferenced = 0
    for frame in ds.PerFrameFunctionalGroupsSequence:
        position = tuple(map(float, frame.PlanePositionSequence[0].ImagePositionPatient))
        if not frame.DerivationImageSequence:
            unreferenced += 1
            assert position not in by_position
            continue
        image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert (image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber")) == by_position[position]
    there = made.source.gap is not None and np.unique(made.labels.array_zyx[made.source.gap])
    assert unreferenced == (np.count_nonzero(there) if there is not False else 0)


def test_the_sides_of_kidneys_and_the_algorithm_are_told(tmp_path: Path) -> None:
    write_dicom_seg(tmp_path / "a.dcm", case(tmp_path / "series"))
    segments = pydicom.dcmread(tmp_path / "a.dcm").SegmentSequence
    for code, side in ((RIGHT_KIDNEY, "24028007"), (LEFT_KIDNEY, "7771000")):
        (kind,) = segments[code - 1].SegmentedPropertyTypeCodeSequence
        (modifier,) = kind.SegmentedPropertyTypeModifierCodeSequence
        assert (kind.CodeValue, modifier.CodeValue) == ("64033007", side)
    (tumor,) = segments[-1].SegmentedPropertyCategoryCodeSequence
    assert (tumor.CodeValue, segments[-1].AnatomicRegionSequence[0].CodeMeaning) == ("49755003", "Abdomen")
    (algorithm,) = segments[0].SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, "0123456789abcdef" in algorithm.AlgorithmParameters) == ("flare-infer lite", True)


@FORMS
def test_only_the_chosen_classes_are_written(labelmap: bool, tmp_path: Path) -> None:
    chosen = (SPLEEN, LEFT_KIDNEY)
    write_dicom_seg(tmp_path / "a.dcm", case(tmp_path / "series"), labelmap=labelmap, codes=chosen)
    ds = pydicom.dcmread(tmp_path / "a.dcm")
    assert [one.SegmentLabel for one in ds.SegmentSequence] == ["spleen", "left kidney"]
    assert [one.SegmentNumber for one in ds.SegmentSequence] == ([SPLEEN, LEFT_KIDNEY] if labelmap else [1, 2])
    labels = hard_labels()
    counts = [np.count_nonzero(labels == code) for code in chosen]
    values = ds.pixel_array
    if labelmap:
        assert [np.count_nonzero(values == code) for code in chosen] == counts
    assert np.count_nonzero(values) == sum(counts)


def test_long_runs_and_changes_at_every_pixel_survive_compression(tmp_path: Path) -> None:
    labels = np.zeros((12, 20, 700), np.uint8)
    labels[0, :, ::2], labels[1, 3], labels[2, :, :129], labels[3] = 1, 2, 3, 4
    wide = case(tmp_path / "series", Made(array_zyx=np.zeros(labels.shape, np.int16)), labels)
    write_dicom_seg(tmp_path / "a.dcm", wide, labelmap=True)
    np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "a.dcm").pixel_array, labels[:4])


@pytest.mark.parametrize("damage", ["an invalid date", "no frame of reference", "no patient"])
def test_a_source_that_breaks_the_standard_is_written_all_the_same(damage: str, tmp_path: Path) -> None:
    def change(ds: Dataset, index: int) -> None:
        if damage == "an invalid date":
            with pydicom.config.disable_value_validation():
                ds.PatientBirthDate = "unknown"
        elif damage == "no patient":
            del ds.PatientName, ds.PatientID, ds.PatientBirthDate
        else:
            del ds.FrameOfReferenceUID

    source = case(tmp_path / "series", with_changes(Made(array_zyx=volume()), change))
    write_dicom_seg(tmp_path / "a.dcm", source)
    ds = pydicom.dcmread(tmp_path / "a.dcm")
    assert ds.FrameOfReferenceUID
    assert "PatientName" in ds


def test_without_dicom_there_is_nothing_to_refer_to(tmp_path: Path) -> None:
    from_nifti = replace(case(tmp_path / "series"), source=None)
    with pytest.raises(ImageError, match="DICOM SEG refers to DICOM images, and the scan is an image file"):
        write_dicom_seg(tmp_path / "a.dcm", from_nifti)
    assert not (tmp_path / "a.dcm").exists()


def test_a_label_map_on_another_grid_is_refused(tmp_path: Path) -> None:
    other = case(tmp_path / "series", labels=np.zeros((12, 21, 26), np.uint8))
    with pytest.raises(ImageError, match="needs the grid of the series"):
        write_dicom_seg(tmp_path / "a.dcm", other)


def test_files_that_are_gone_are_one_line(tmp_path: Path) -> None:
    made = case(tmp_path / "series")
    shutil.rmtree(tmp_path / "series")
    with pytest.raises(ImageError, match="can no longer be read") as raised:
        write_dicom_seg(tmp_path / "a.dcm", made)
    assert not any(word in str(raised.value) for word in PATIENT)
    assert list(tmp_path.iterdir()) == []
