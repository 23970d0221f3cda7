"""The picture of a case, looked at by its pixels."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from flare_infer import labels
from flare_infer.errors import MissingExtraError
from flare_infer.exports.color_table import colors_of
from flare_infer.page.preview import draw_preview, write_preview
from flare_infer.page.upright import point_of_interest, upright
from flare_infer.results.case import Flag
from flare_infer.results.picture import COLORS
from tests.flare_infer.page.cases import phantom_case, statistics_of, turned

KEY = 200  # the key and the lines take no more at the foot


@pytest.fixture(scope="module")
def case():
    return phantom_case(shape=(48, 64, 64))


def places(picture, code):
    pixels = np.asarray(picture, dtype=int)[:-KEY]
    return np.nonzero(np.abs(pixels - COLORS[code]).max(axis=2) <= 24)


@pytest.mark.parametrize("stored", ["as painted", "turned"])
def test_the_patients_right_is_on_the_left_and_the_front_is_up(case, stored):
    if stored == "turned":
        case = replace(case, scan=turned(case.scan), labels=turned(case.labels))
    picture = draw_preview(case, statistics_of(case))
    assert picture.width == 1400
    third = (1400 - 64) / 3
    for left in (0, third):  # the axial and the coronal plane
        sides = []
        for code in (labels.LIVER, labels.SPLEEN):
            _, xs = places(picture, code)
            sides.append(xs[(xs > 32 + left) & (xs < 32 + left + third)].mean())
        assert sides[0] < sides[1] - 50
    rows, xs = places(picture, labels.AORTA)
    liver, liver_xs = places(picture, labels.LIVER)
    assert liver[liver_xs < third].mean() < rows[xs < third].mean()


def test_the_head_is_up_and_the_front_is_on_the_left_of_the_sagittal_plane(case):
    image, codes = np.full((40, 60, 80), 40, np.int16), np.zeros((40, 60, 80), np.uint8)
    codes[26:36, 10:50, 20:60] = labels.LIVER  # toward the head
    codes[6:12, 10:50, 20:60] = labels.RIGHT_KIDNEY
    codes[16:22, 8:24, 20:60] = labels.STOMACH  # toward the front
    codes[16:22, 36:52, 20:60] = labels.SPLEEN
    blocks = replace(
        case,
        scan=replace(case.scan, array_zyx=image),
        labels=replace(case.labels, array_zyx=codes),
        in_hounsfield=False,
    )
    picture = draw_preview(blocks, statistics_of(blocks))
    found = {code: places(picture, code) for code in (1, 2, labels.STOMACH, labels.SPLEEN)}
    beside = {code: rows[columns > 600].mean() for code, (rows, columns) in found.items()}
    assert beside[labels.LIVER] < beside[labels.STOMACH] < beside[labels.RIGHT_KIDNEY]
    sagittal = {code: columns[columns > 1080].mean() for code, (_, columns) in found.items()}
    assert sagittal[labels.STOMACH] < sagittal[labels.SPLEEN] - 20


def test_the_same_case_in_another_orientation_gives_the_same_picture(case):
    other = replace(case, scan=turned(case.scan), labels=turned(case.labels))
    statistics = statistics_of(case)
    np.testing.assert_array_equal(
        np.asarray(draw_preview(case, statistics)), np.asarray(draw_preview(other, statistics))
    )


def test_flags_and_lesions_are_lines_below_the_key(case):
    plain = draw_preview(case, replace(statistics_of(case), lesions=()))
    one = draw_preview(case, statistics_of(case))
    flagged = draw_preview(case, statistics_of(case, [Flag(kind="short scan", reason="40 mm of the body")]))
    many = draw_preview(case, statistics_of(case, [Flag(kind="organ cut", reason="x" * 5000)] * 40))
    assert plain.height < one.height < flagged.height < many.height < flagged.height + 400
    yellow = np.abs(np.asarray(flagged, dtype=int)[-100:] - (255, 196, 92)).max(axis=2) < 30
    assert yellow.sum() > 50


def test_classes_of_another_model_have_colors_of_their_own():
    names = ("background", "tumor", *(f"muscle {number}" for number in range(120)))
    colors = colors_of(names)
    assert colors[1] == COLORS[labels.TUMOR]
    assert len(set(colors[1:])) == len(names) - 1
    assert all(0 <= part <= 255 for color in colors for part in color)


def test_codes_that_have_no_name_are_not_drawn(case):
    array = case.labels.array_zyx.copy()
    array[array == labels.TUMOR] = 255
    odd = replace(case, labels=replace(case.labels, array_zyx=array))
    assert draw_preview(odd, statistics_of(odd)).width == 1400


def test_the_point_that_is_shown_first_lies_in_planes_with_most_classes(case):
    found = upright(case)
    z, y, x = point_of_interest(found.codes_zyx, found.placement.spacing_mm, case.names)
    for plane in (found.codes_zyx[z], found.codes_zyx[:, y], found.codes_zyx[:, :, x]):
        assert labels.TUMOR in plane
        assert len(np.unique(plane)) >= 4
    nothing = point_of_interest(np.zeros((4, 6, 8), np.uint8), (1.0, 1.0, 1.0), case.names)
    assert nothing == (2, 3, 4)


@pytest.mark.parametrize("in_hounsfield", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 30, 200), (200, 30, 3)])
def test_nothing_found_and_odd_shapes_give_a_picture(case, shape, in_hounsfield):
    scan = replace(case.scan, array_zyx=np.full(shape, np.nan, np.float32))
    codes = replace(case.labels, array_zyx=np.zeros(shape, np.uint8))
    empty = replace(case, scan=scan, labels=codes, in_hounsfield=in_hounsfield)
    assert draw_preview(empty, statistics_of(empty)).height < 3000


def test_the_file_is_a_png_and_whole(case, tmp_path):
    write_preview(tmp_path / "case.png", case, statistics_of(case))
    with Image.open(tmp_path / "case.png") as picture:
        picture.load()
        assert picture.format == "PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["case.png"]


def test_without_pillow_the_error_says_what_to_install(case, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"pip install \"flare-infer\[picture\]\""):
        write_preview(tmp_path / "case.png", case, statistics_of(case))
    assert not list(tmp_path.iterdir())
