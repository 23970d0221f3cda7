"""The overlay picture, looked at by its pixels."""

import sys
from itertools import combinations

import numpy as np
import pytest

from flare_infer import labels
from flare_infer.errors import FlareError, ImageError
from flare_infer.results.picture import COLORS, overlay
from train.synth.phantom import paint_phantom

SPACING_MM = (5.0, 4.0, 4.0)


@pytest.fixture
def body():
    """A block of soft tissue with air around it, and no label."""
    image = np.full((40, 60, 80), -1000, dtype=np.int16)
    image[:, 8:52, 8:72] = 40
    return image, np.zeros(image.shape, dtype=np.uint8)


def pixels_of(picture, code, tolerance=24):
    """Rows and columns of the pixels that have the outline's color of a class."""
    near = np.abs(np.asarray(picture, dtype=int) - COLORS[code]).max(axis=2) <= tolerance
    return np.nonzero(near)


def key_swatches(picture):
    """The classes that the key at the foot shows: codes whose very color fills a square of the lowest rows."""
    foot = np.asarray(picture)[-150:]
    return {code for code in labels.CODES if (foot == COLORS[code]).all(axis=2).sum() > 150}


def test_every_class_has_a_color_of_its_own():
    assert set(COLORS) == set(labels.CODES)
    for one, other in combinations(COLORS.values(), 2):
        assert np.linalg.norm(np.subtract(one, other)) > 50
    for color in COLORS.values():
        assert max(color) > 120  # readable on the dark ground
        assert max(color) - min(color) > 60  # none is taken for the gray of the CT


@pytest.mark.parametrize(("columns", "on_the_left"), [(slice(12, 20), True), (slice(60, 68), False)])
def test_the_patients_right_is_on_the_left_of_every_slice(body, columns, on_the_left):
    image, codes = body
    codes[10:30, 24:36, columns] = labels.TUMOR
    picture = overlay(image, codes, SPACING_MM)
    # The three slices are about equally wide here; the key lies below them.
    width = (picture.width - 64 - 40) / 3
    rows, xs = pixels_of(picture, labels.TUMOR)
    xs = xs[rows < picture.height - 80]
    for number in range(3):
        left = 32 + number * (width + 20)
        inside = xs[(xs >= left) & (xs < left + width)]
        assert inside.size > 20
        assert (inside.mean() < left + width / 2) == on_the_left


def test_anterior_is_up_in_axial_slices_and_superior_in_the_coronal_one(body):
    image, codes = body
    codes[28:36, 10:18, 36:44] = labels.LIVER  # superior and anterior
    codes[4:12, 10:18, 36:44] = labels.SPLEEN  # inferior and anterior
    codes[4:12, 42:50, 36:44] = labels.AORTA  # inferior and posterior
    picture = overlay(image, codes, SPACING_MM)
    half = picture.width // 2
    rows, xs = pixels_of(picture, labels.SPLEEN)
    below, _ = pixels_of(picture, labels.AORTA)
    slices = picture.height - 80
    assert rows[(xs < half + 200) & (rows < slices)].mean() < below[below < slices].mean()
    coronal = picture.width - 32 - 200
    liver, liver_xs = pixels_of(picture, labels.LIVER)
    assert liver[(liver_xs > coronal) & (liver < slices)].mean() < rows[(xs > coronal) & (rows < slices)].mean()


def test_the_slices_have_their_proportions_in_mm(body):
    image, codes = body
    codes[20, 20:40, 20:40] = labels.LIVER  # a square of 80 x 80 mm
    # Halve the voxels along y: the same square is 40 rows of 2 mm.
    fine_image, fine_codes = np.repeat(image, 2, axis=1), np.repeat(codes, 2, axis=1)
    for picture in (overlay(image, codes, (5.0, 4.0, 4.0)), overlay(fine_image, fine_codes, (5.0, 2.0, 4.0))):
        rows, xs = pixels_of(picture, labels.LIVER)
        first = (xs < picture.width // 3) & (rows < picture.height - 80)
        assert np.ptp(rows[first]) == pytest.approx(np.ptp(xs[first]), abs=6)


def test_the_key_has_the_classes_that_are_present(body):
    image, codes = body
    codes[10:20, 20:30, 20:30] = labels.STOMACH
    codes[10:20, 20:30, 40:50] = labels.PANCREAS
    codes[0, 0, 0] = labels.KNOWN_BACKGROUND
    assert key_swatches(overlay(image, codes, SPACING_MM)) == {labels.STOMACH, labels.PANCREAS}


def test_slices_are_chosen_by_the_organ_and_never_by_an_island(body):
    image, codes = body
    codes[20:26, 20:40, 20:40] = labels.LIVER
    codes[20:26, 20:30, 50:60] = labels.SPLEEN
    alone = np.asarray(overlay(image, codes, SPACING_MM))
    # Another liver, of the largest section and less volume, where nothing else is.
    codes[36:37, 10:50, 10:66] = labels.LIVER
    with_island = np.asarray(overlay(image, codes, SPACING_MM))
    slices = alone.shape[0] - 80
    np.testing.assert_array_equal(alone[:slices, :900], with_island[:slices, :900])  # the two axial slices


def test_fine_scans_are_cut_where_the_organ_is(body):
    image, codes = body
    codes[20:26, 20:40, 20:40] = labels.LIVER
    fine_image, fine_codes = (np.repeat(array, 5, axis=0) for array in (image, codes))
    coarse, fine = (
        overlay(*arrays) for arrays in ((image, codes, SPACING_MM), (fine_image, fine_codes, (1.0, 4.0, 4.0)))
    )
    for picture in (coarse, fine):
        rows, xs = pixels_of(picture, labels.LIVER)
        assert (xs[rows < picture.height - 80] < 400).any()  # an axial slice shows it


def test_a_class_that_the_edge_cuts_has_a_least_volume_in_the_key(body):
    image, codes = body
    codes[10:20, 20:30, 20:30] = labels.STOMACH
    inside = np.asarray(overlay(image, codes, SPACING_MM))[-60:]
    codes[10:20, 20:30, 20:30] = 0
    codes[0:10, 20:30, 20:30] = labels.STOMACH
    cut = np.asarray(overlay(image, codes, SPACING_MM))[-60:]
    differs = np.flatnonzero((inside != cut).any(axis=(0, 2)))
    assert 0 < np.ptp(differs) < 40  # one sign before the number


def test_the_key_says_the_volume(body):
    image, codes = body
    codes[10:20, 20:30, 20:30] = labels.STOMACH
    small, large = (np.asarray(overlay(image, codes, spacing)) for spacing in (SPACING_MM, (5.0, 4.0, 4.0001)))
    foot = slice(-60, None)
    np.testing.assert_array_equal(small[foot], large[foot])  # both are 80.0 mL
    codes[20, 20:30, 20:30] = labels.STOMACH  # now 88.0 mL
    assert (np.asarray(overlay(image, codes, SPACING_MM))[foot] != small[foot]).any()


def test_all_classes_of_the_phantom_are_in_the_key_and_most_in_the_slices():
    image, codes = paint_phantom(np.random.default_rng(0), (48, 64, 64), (6.0, 5.0, 5.0))
    picture = overlay(image.array_zyx, codes.array_zyx, image.placement.spacing_mm, title="phantom")
    assert picture.mode == "RGB"
    assert picture.width == 1400
    assert key_swatches(picture) == set(labels.CODES)
    rows = {code: pixels_of(picture, code)[0] for code in labels.CODES}
    shown = [code for code in labels.CODES if (rows[code] < picture.height - 150).sum() > 20]
    assert len(shown) >= len(labels.CODES) - 2
    assert labels.TUMOR in shown


@pytest.mark.parametrize("shape", [(40, 60, 80), (1, 1, 1), (1, 30, 200), (200, 30, 3)])
@pytest.mark.parametrize("value", [-1000, 40])
def test_a_map_without_classes_and_odd_shapes_give_a_picture(shape, value):
    image = np.full(shape, value, dtype=np.int16)
    picture = overlay(image, np.zeros(shape, dtype=np.uint8), SPACING_MM)
    assert picture.width == 1400
    assert picture.height < 3000


def test_shapes_that_differ_are_refused(body):
    image, codes = body
    with pytest.raises(ImageError, match="found shapes"):
        overlay(image, codes[1:], SPACING_MM)


def test_without_pillow_the_error_says_what_to_install(body, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(FlareError, match=r"pip install \"flare-infer\[picture\]\""):
        overlay(*body, SPACING_MM)
