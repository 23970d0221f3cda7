"""The painted CT has the anatomy that other tests rely on."""

import numpy as np
import pytest

from flare_infer import labels
from flare_infer.errors import SpecError
from train.synth.phantom import paint_phantom


@pytest.fixture(scope="module")
def painted():
    return paint_phantom(np.random.default_rng(7))


def middle_mm(codes, code):
    """Center of mass of a class, in patient millimeters (superior, posterior, left)."""
    zyx = np.argwhere(codes.array_zyx == code).mean(axis=0)
    return zyx * codes.placement.spacing_mm + np.array(codes.placement.origin_mm[::-1])


def test_types_grid_and_placement(painted):
    image, codes = painted
    assert image.array_zyx.dtype == np.int16
    assert codes.array_zyx.dtype == np.uint8
    assert image.shape == codes.shape == (96, 128, 128)
    assert image.placement == codes.placement
    assert image.placement.axes == ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    # 128 voxels of 2.5 mm around zero: centers from -158.75 to 158.75.
    assert image.placement.origin_mm == (-158.75, -158.75, -142.5)


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_there(seed):
    codes = paint_phantom(np.random.default_rng(seed), (48, 64, 64), (6.0, 5.0, 5.0))[1].array_zyx
    assert set(np.unique(codes).tolist()) == {labels.BACKGROUND, *labels.CODES}


@pytest.mark.parametrize(
    ("right", "left"),
    [
        (labels.RIGHT_KIDNEY, labels.LEFT_KIDNEY),
        (labels.RIGHT_ADRENAL_GLAND, labels.LEFT_ADRENAL_GLAND),
        (labels.LIVER, labels.SPLEEN),
        (labels.INFERIOR_VENA_CAVA, labels.AORTA),
        (labels.GALLBLADDER, labels.STOMACH),
    ],
)
def test_right_is_right(painted, right, left):
    codes = painted[1]
    assert middle_mm(codes, right)[2] < middle_mm(codes, left)[2]


@pytest.mark.parametrize(
    ("front", "behind"),
    [(labels.STOMACH, labels.SPLEEN), (labels.GALLBLADDER, labels.RIGHT_KIDNEY), (labels.PANCREAS, labels.AORTA)],
)
def test_front_is_in_front(painted, front, behind):
    codes = painted[1]
    assert middle_mm(codes, front)[1] < middle_mm(codes, behind)[1]


@pytest.mark.parametrize(
    ("upper", "lower"),
    [
        (labels.ESOPHAGUS, labels.STOMACH),
        (labels.LIVER, labels.RIGHT_KIDNEY),
        (labels.LEFT_KIDNEY, labels.RIGHT_KIDNEY),
        (labels.STOMACH, labels.DUODENUM),
    ],
)
def test_upper_is_above(painted, upper, lower):
    codes = painted[1]
    assert middle_mm(codes, upper)[0] > middle_mm(codes, lower)[0]


@pytest.mark.parametrize(
    ("code", "lowest", "highest"),
    [
        (labels.LIVER, 95, 125),
        (labels.SPLEEN, 105, 135),
        (labels.RIGHT_KIDNEY, 140, 200),
        (labels.AORTA, 140, 190),
        (labels.GALLBLADDER, -10, 40),
        (labels.TUMOR, 45, 80),
    ],
)
def test_brightness_is_that_of_a_portal_venous_ct(painted, code, lowest, highest):
    image, codes = painted
    assert lowest < np.median(image.array_zyx[codes.array_zyx == code]) < highest


def test_air_outside_fat_under_the_skin_lungs_on_top_and_a_spine(painted):
    image = painted[0].array_zyx
    assert (image[:, :4, :] < -900).all()  # before the belly
    rim = image[40, 24, 60:68]  # 60 mm from the front: skin to muscle
    assert -140 < rim.mean() < -60
    top = image[90, 40:80, 24:34]
    assert np.median(top) < -700
    spine = image[10:80, 86:94, 62:66]
    assert np.median(spine) > 150


def test_the_tumor_is_inside_the_liver(painted):
    codes = painted[1].array_zyx
    z, y, x = (round(value) for value in np.argwhere(codes == labels.TUMOR).mean(axis=0))
    line = codes[z, y, :]
    first, last = np.flatnonzero(line == labels.TUMOR)[[0, -1]]
    assert line[first - 1] == line[last + 1] == labels.LIVER
    assert first <= x <= last


def test_the_same_seed_paints_the_same_voxels_and_another_does_not():
    grid = ((40, 48, 48), (7.0, 6.5, 6.5))
    one, again, other = (paint_phantom(np.random.default_rng(seed), *grid) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one[0].array_zyx, again[0].array_zyx)
    np.testing.assert_array_equal(one[1].array_zyx, again[1].array_zyx)
    assert (one[1].array_zyx != other[1].array_zyx).any()


def test_a_grid_without_room_is_refused():
    with pytest.raises(SpecError, match=r"has no room for .*gland"):
        paint_phantom(np.random.default_rng(0), (6, 8, 8), (48.0, 40.0, 40.0))
