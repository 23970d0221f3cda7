"""Slices of a tilted gantry, and labels back on them."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the field's own alias

from flare_infer.dicom.find import dicom_files, find_series
from flare_infer.dicom.series import Series
from flare_infer.dicom.tilt import labels_on_slices, upright_of
from flare_infer.dicom.volume import read_series
from tests.dicom.series import Made, phantom, write


def series_of(folder: Path, made: Made, *, fill_gaps: bool = False, leave: tuple[int, ...] = ()) -> Series:
    write(folder, made, leave)
    ((series,), _) = find_series(folder, dicom_files(folder, None), fill_gaps=fill_gaps)
    return series


def smooth(lean_mm: float) -> Made:
    """A blob whose interpolation loses little, away from the edges."""
    z, y, x = np.indices((14, 40, 36))
    blob = 900 * np.exp(-(((z - 7) / 5) ** 2 + ((y - 20) / 8) ** 2 + ((x - 18) / 8) ** 2))
    return Made(array_zyx=np.rint(blob - 1000).astype(np.int16), lean_mm=lean_mm)


@pytest.mark.parametrize("lean_mm", [0.31, -0.55, 1.2])
def test_what_lies_at_a_place_in_the_patient_is_found_there(lean_mm: float, tmp_path: Path) -> None:
    made = smooth(lean_mm)
    volume = read_series(series_of(tmp_path, made))
    image = sitk.GetImageFromArray(volume.array_zyx.astype(np.float32))
    image.SetSpacing(volume.placement.spacing_mm[::-1])
    image.SetOrigin(volume.placement.origin_mm)
    image.SetDirection(np.asarray(volume.placement.axes)[::-1].T.ravel().tolist())
    for index, y, x in ((2, 12, 20), (7, 20, 18), (11, 25, 10)):
        place = (
            np.asarray(made.position(index)) + y * 0.7 * np.asarray(made.axes[3:]) + x * 0.9 * np.asarray(made.axes[:3])
        )
        found = image.EvaluateAtPhysicalPoint(place.tolist(), sitk.sitkLinear)
        assert found == pytest.approx(float(made.array_zyx[index, y, x]), abs=8)


def test_air_lies_beside_the_slices(tmp_path: Path) -> None:
    volume = read_series(series_of(tmp_path, Made(lean_mm=0.7)))
    assert volume.shape == (12, 31, 24)
    assert (volume.array_zyx[0, 20:] == -1024).all()
    assert (volume.array_zyx[11, :11] == -1024).all()


@pytest.mark.parametrize("lean_mm", [0.7, 0.31, -0.55])
def test_labels_return_to_the_pixels_they_were_found_at(lean_mm: float, tmp_path: Path) -> None:
    made = smooth(lean_mm)
    series = series_of(tmp_path, made)
    upright = read_series(series)
    back = labels_on_slices((upright.array_zyx > -700).astype(np.uint8), series)
    truth = made.array_zyx > -700
    assert back.shape == truth.shape
    assert back.dtype == np.uint8
    overlap = 2 * np.sum((back == 1) & truth) / (np.sum(back) + np.sum(truth))
    assert overlap > (0.9999 if lean_mm == 0.7 else 0.97)


def test_labels_of_an_interpolated_slice_have_their_place(tmp_path: Path) -> None:
    series = series_of(tmp_path, Made(lean_mm=0.7), fill_gaps=True, leave=(4,))
    labels = np.repeat(np.arange(12, dtype=np.uint8)[:, None, None], 31, axis=1).repeat(24, axis=2)
    np.testing.assert_array_equal(labels_on_slices(labels, series)[:, 0, 0], np.arange(12))


def test_slices_that_are_shifted_along_a_row(tmp_path: Path) -> None:
    """Where rows run along the table's vertical axis, the shift is along them."""
    made = Made()

    class Along(Made):
        def position(self, index: int) -> list[float]:
            return [
                round(float(v), 5) for v in np.add(super().position(index), 0.9 * index * np.asarray(self.axes[:3]))
            ]

    series = series_of(tmp_path, Along())
    volume = read_series(series)
    assert volume.shape == (12, 20, 35)
    for index in range(12):
        np.testing.assert_array_equal(volume.array_zyx[index, :, index : index + 24], made.array_zyx[index])
    labels = labels_on_slices(volume.array_zyx, series)
    np.testing.assert_array_equal(labels, made.array_zyx)


def test_nothing_is_changed_without_a_tilt(tmp_path: Path) -> None:
    series = series_of(tmp_path, Made())
    assert upright_of(series).shape == (20, 24)
    labels = phantom()
    assert labels_on_slices(labels, series) is labels
    with pytest.raises(ValueError, match="labels of shape"):
        labels_on_slices(labels[:, 1:], series)
