"""What counts as a label map."""

import numpy as np
import pytest

from flare_eval.label_maps.label_map import label_codes, read_label_map
from flare_infer.errors import ImageError


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.float32, np.float64])
def test_whole_numbers_of_any_type_are_label_codes(dtype: type) -> None:
    codes = label_codes(np.array([[[0, 14, 3]]], dtype=dtype), "a.nii.gz")
    assert codes.dtype == np.uint8
    assert codes.tolist() == [[[0, 14, 3]]]


@pytest.mark.parametrize("value", [0.5, 13.998, 12.5, -0.002, -1.0, 15.0, 256.0, np.nan, np.inf, -np.inf])
def test_other_numbers_are_refused_with_the_name_and_the_value(value: float) -> None:
    with pytest.raises(ImageError, match=rf"^a\.nii\.gz: expected .*, found {value:g}$"):
        label_codes(np.array([[[0, 1], [2, value]]]), "a.nii.gz")


def test_a_rest_of_rounding_is_rounded_away_and_more_is_shown_as_it_is() -> None:
    near = np.array([[[12.99999, 0.0009], [-0.0009, 14.00001]]], dtype=np.float32)
    assert label_codes(near, "a.nii.gz").tolist() == [[[13, 0], [0, 14]]]
    with pytest.raises(ImageError, match=r"expected whole numbers as labels, found 12\.9989$"):
        label_codes(np.array([[[12.99999, 12.9989]]]), "a.nii.gz")
    with pytest.raises(ImageError, match=r"expected whole numbers as labels, found 12\.9989999"):
        label_codes(np.array([[[12.9989999]]]), "a.nii.gz")
    with pytest.raises(ImageError, match=r"expected labels 0\.\.14, found 15"):
        label_codes(np.array([[[14.99999]]]), "a.nii.gz")


@pytest.mark.parametrize("value", [-1, 15, 255, 256, 270])
def test_whole_numbers_beyond_the_codes_are_refused_not_wrapped(value: int) -> None:
    with pytest.raises(ImageError, match=f"found {value}"):
        label_codes(np.array([[[0, value]]], dtype=np.int16), "a.nii.gz")


def test_a_file_of_floats_is_read_as_codes(draw, save) -> None:
    path = save("case.nii.gz", draw("1.T").astype(np.float32))
    assert read_label_map(path).array_zyx.tolist() == [[[1, 0, 14]]]
