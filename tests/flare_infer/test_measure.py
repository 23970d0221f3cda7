"""Volumes of classes, by hand-counted voxels."""

import numpy as np
import pytest

from flare_infer import labels
from flare_infer.errors import ImageError
from flare_infer.measure import volumes_ml


def test_volumes_of_a_drawn_map():
    # Two slices of 2 x 3 voxels; a voxel is 5 x 2 x 10 mm = 0.1 mL.
    drawn = np.array(
        [
            [[1, 1, 0], [0, 3, 0]],
            [[1, 0, 0], [0, 3, 14]],
        ],
        dtype=np.uint8,
    )
    volumes = volumes_ml(drawn, (5.0, 2.0, 10.0))
    assert tuple(volumes) == labels.CODES
    assert volumes[labels.LIVER] == pytest.approx(0.3)
    assert volumes[labels.SPLEEN] == pytest.approx(0.2)
    assert volumes[labels.TUMOR] == pytest.approx(0.1)
    assert sum(volumes.values()) == pytest.approx(0.6)


def test_absent_classes_have_zero_and_unknown_codes_are_passed_over():
    volumes = volumes_ml(np.full((2, 2, 2), labels.KNOWN_BACKGROUND, dtype=np.uint8), (1.0, 1.0, 1.0))
    assert volumes == dict.fromkeys(labels.CODES, 0.0)


def test_an_empty_map_has_no_volume():
    assert set(volumes_ml(np.zeros((0, 4, 4), dtype=np.uint8), (1.0, 1.0, 1.0)).values()) == {0.0}


@pytest.mark.parametrize("array", [np.zeros((1, 1, 1), np.float32), np.full((1, 1, 1), -1, np.int16)])
def test_what_is_no_label_map_is_refused(array):
    with pytest.raises(ImageError, match="expected label codes"):
        volumes_ml(array, (1.0, 1.0, 1.0))
