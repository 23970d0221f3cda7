"""Volumes of classes, by hand-counted voxels."""

import numpy as np
import pytest

from flare_infer import labels
from flare_infer.errors import ImageError
from flare_infer.results.organ_volumes import cut_by_edge, largest_parts, volume_text, volumes_ml


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


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_a_class_on_a_face_of_the_scan_is_cut(axis: int, end: int) -> None:
    codes = np.zeros((5, 6, 7), dtype=np.uint8)
    codes[2, 2, 2] = labels.SPLEEN
    assert cut_by_edge(codes) == frozenset()
    place = [3, 3, 3]
    place[axis] = end
    codes[tuple(place)] = labels.LIVER
    codes[0, 0, 0] = labels.KNOWN_BACKGROUND
    assert cut_by_edge(codes) == {labels.LIVER}


def test_the_largest_part_of_each_class_is_kept() -> None:
    codes = np.zeros((12, 12, 12), dtype=np.uint8)
    codes[0:4, 0:4, 0:4] = labels.LIVER
    codes[4, 4, 4] = labels.LIVER  # touches by a corner
    codes[8:10, 8:10, 8:10] = labels.LIVER
    codes[4:6, 0:3, 0:3] = labels.SPLEEN  # touches the liver, and is a class of its own
    codes[11, 11, 11] = labels.SPLEEN
    kept, steps = largest_parts(codes, (3.0, 3.0, 3.0))
    assert steps == (1, 1, 1)
    codes[8:10, 8:10, 8:10] = 0
    codes[11, 11, 11] = 0
    np.testing.assert_array_equal(kept, codes)


def test_parts_are_told_apart_on_a_grid_of_about_3_mm() -> None:
    codes = np.zeros((9, 8, 7), dtype=np.uint8)
    codes[3, 4, :] = labels.AORTA
    kept, steps = largest_parts(codes, (1.0, 1.5, 4.0))
    assert steps == (3, 2, 1)
    assert kept.shape == (3, 4, 7)
    assert (kept == labels.AORTA).nonzero()[0].tolist() == [1] * 7


def test_a_map_without_classes_has_no_part() -> None:
    assert not largest_parts(np.zeros((3, 3, 3), dtype=np.uint8), (3.0, 3.0, 3.0))[0].any()


@pytest.mark.parametrize(
    ("volume", "cut", "text"),
    [
        (0.0, True, "-"),
        (0.04, True, "< 0.1"),
        (0.06, False, "0.1"),
        (72.84, True, "> 72.8"),
        (1026.9, False, "1,026.9"),
    ],
)
def test_a_volume_for_people(volume: float, cut: bool, text: str) -> None:
    assert volume_text(volume, cut=cut) == text
    assert volume_text(1026.9, cut=cut, decimals=0) == ("> 1,027" if cut else "1,027")
