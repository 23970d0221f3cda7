"""The page of a case in a real browser, from a file, without network.

The case is stored in an orientation that nobody expects, and its name and the names of its classes are hostile.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from flare_infer import labels
from flare_infer.page.report import write_report
from flare_infer.results.case import Flag
from flare_infer.results.picture import COLORS
from tests.flare_infer.page.browser import NO_3D, Opened, opened
from tests.flare_infer.page.cases import phantom_case, statistics_of, turned

ATTACK = "<img src=x onerror=\"window.hacked='name'\"></script><script>window.hacked='script'</script>"
MARKS = 232  # what is brighter than this in a plane, and gray, is a letter or the crosshair


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    case = phantom_case(ATTACK)
    names = tuple(f"{name}{ATTACK}" if name == "duodenum" else name for name in labels.NAMES)
    case = replace(
        case,
        scan=turned(case.scan),
        labels=turned(case.labels),
        names=names,
        notices=(ATTACK,),
        made_with={ATTACK: ATTACK, "model": "lite"},
    )
    statistics = statistics_of(case, [Flag(kind=ATTACK, reason=ATTACK, code=1)])
    path = tmp_path_factory.mktemp("page") / "case.html"
    write_report(path, case, replace(statistics, phase=ATTACK))
    return path


@pytest.fixture(scope="module")
def viewer(playwright: Any, hostile: Path) -> Iterator[Opened]:
    with opened(playwright, hostile) as found:
        found.page.wait_for_selector("#viewer[data-ready=yes]")
        found.set("#opacity", "100")
        yield found


@pytest.fixture(autouse=True)
def as_at_first(request: pytest.FixtureRequest) -> None:
    if "viewer" in request.fixturenames:
        found = request.getfixturevalue("viewer")
        found.page.locator("#all").click()
        found.page.locator("button.go[aria-label='Go to liver']").click()
        found.page.check("input[name=view][value=all]")
        found.set("#opacity", "100")
        found.set("#window", "50 400")


def of_class(pixels: npt.NDArray[np.uint8], code: int) -> npt.NDArray[np.bool_]:
    return np.asarray(np.abs(pixels.astype(int) - COLORS[code]).max(axis=2) <= 6)


def tiles(pixels: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.uint8]]:
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    return {
        "axial": pixels[:height, :width],
        "coronal": pixels[height:, :width],
        "sagittal": pixels[height:, width:],
        "solid": pixels[:height, width:],
    }


def hues(pixels: npt.NDArray[np.uint8], code: int) -> npt.NDArray[np.bool_]:
    """Where a picture with light and shadow has the hue of a class."""
    strength = pixels.max(axis=2).astype(float)
    share = pixels / np.maximum(strength, 1)[..., None]
    wanted = np.array(COLORS[code]) / max(COLORS[code])
    return np.asarray((strength > 60) & (np.abs(share - wanted).max(axis=2) < 0.12))


def center(mask: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Mean row and column."""
    assert mask.sum() > 20
    return np.argwhere(mask).mean(axis=0)


def test_only_the_file_is_asked_for_and_nothing_complains(viewer: Opened, hostile: Path) -> None:
    assert [url for url in viewer.requests if not url.startswith(("data:", "blob:"))] == [hostile.as_uri()]
    assert viewer.complaints == []
    assert not viewer.page.locator("#message").is_visible()


def test_three_planes_and_three_dimensions_show_the_liver(viewer: Opened) -> None:
    shown = tiles(viewer.pixels(".stage"))
    for name in ("axial", "coronal", "sagittal"):
        assert of_class(shown[name], labels.LIVER).sum() > 100, name
        gray = shown[name].max(axis=2) - shown[name].min(axis=2) < 8
        assert (gray & (shown[name].max(axis=2) > 60) & (shown[name].max(axis=2) < MARKS)).sum() > 500, name  # the CT
    assert hues(shown["solid"], labels.LIVER).sum() > 100


def test_the_patients_right_is_on_the_left_and_nothing_is_mirrored(viewer: Opened) -> None:
    viewer.page.locator("button.go[aria-label='Go to spleen']").click()
    shown = tiles(viewer.pixels(".stage"))
    liver, spleen = (center(of_class(shown["axial"], code)) for code in (labels.LIVER, labels.SPLEEN))
    assert liver[1] < spleen[1] - 10
    aorta = center(of_class(shown["axial"], labels.AORTA))
    assert liver[0] < aorta[0]  # the front is up
    assert center(hues(shown["solid"], labels.LIVER))[1] < center(hues(shown["solid"], labels.SPLEEN))[1] - 10
    viewer.page.locator("button.go[aria-label='Go to right kidney']").click()
    shown = tiles(viewer.pixels(".stage"))
    coronal = [center(of_class(shown["coronal"], code)) for code in (labels.LIVER, labels.RIGHT_KIDNEY)]
    assert coronal[0][0] < coronal[1][0]  # the head is up
    sagittal = [center(of_class(shown["sagittal"], code)) for code in (labels.LIVER, labels.RIGHT_KIDNEY)]
    assert sagittal[0][1] < sagittal[1][1]  # the front is on the left
    assert sagittal[0][0] < sagittal[1][0]


def test_the_letters_r_and_l_stand_at_their_sides(viewer: Opened) -> None:
    viewer.page.locator("#none").click()
    viewer.set("#at-coronal", "40")  # the crosshair goes out of the way
    axial = tiles(viewer.pixels(".stage"))["axial"]
    half = axial.shape[0] // 2
    bright = axial[half - 40 : half + 40].min(axis=2) > 150
    letters = [np.argwhere(bright[:, 2:22]), np.argwhere(bright[:, -22:-2])]
    tops = []
    for letter in letters:
        assert len(letter) > 10
        rows, columns = letter.T
        upper = columns[rows < rows.min() + (np.ptp(rows) + 1) / 3]
        tops.append((np.ptp(upper) + 1) / (np.ptp(columns) + 1))
    assert tops[0] > 0.7  # an R is as wide above as below, of an L only the stem is there
    assert tops[1] < 0.5


def test_a_click_says_what_is_there(viewer: Opened) -> None:
    stage = viewer.pixels(".stage")
    row, column = center(of_class(tiles(stage)["axial"], labels.LIVER))
    viewer.page.locator("#planes").click(position={"x": float(column), "y": float(row)})
    assert viewer.page.locator("#place").inner_text().startswith("liver, about 1")
    assert "mm right" in viewer.page.locator("#place").inner_text()


def test_a_class_that_is_switched_off_disappears(viewer: Opened) -> None:
    viewer.page.locator("button.go[aria-label='Go to spleen']").click()
    before = viewer.pixels(".stage")
    viewer.page.uncheck(f".organ[value='{labels.LIVER}']")
    after = viewer.pixels(".stage")
    for name in ("axial", "coronal"):
        counts = [of_class(tiles(one)[name], labels.LIVER).sum() for one in (before, after)]
        assert counts[1] < counts[0] * 0.02
        assert of_class(tiles(after)[name], labels.SPLEEN).sum() > 20
    solid = [hues(tiles(one)["solid"], labels.LIVER).sum() for one in (before, after)]
    assert solid[1] < solid[0] * 0.1
    viewer.page.locator("#none").click()
    nothing = tiles(viewer.pixels(".stage"))
    assert not any(of_class(nothing["axial"], code).sum() for code in labels.CODES)
    assert hues(nothing["solid"], labels.SPLEEN).sum() == 0


def test_opacity_lets_the_ct_through(viewer: Opened) -> None:
    colorful = []
    for percent in ("0", "50", "100"):
        viewer.set("#opacity", percent)
        axial = tiles(viewer.pixels(".stage"))["axial"].astype(int)
        colorful.append(float((axial.max(axis=2) - axial.min(axis=2)).mean()))
    assert colorful[0] < 0.05 * colorful[2]
    assert 0.3 * colorful[2] < colorful[1] < 0.7 * colorful[2]


def test_a_window_changes_the_gray_of_the_ct_and_the_numbers(viewer: Opened) -> None:
    viewer.page.locator("#none").click()
    means = []
    for window in ("50 400", "-600 1500"):
        viewer.set("#window", window)
        means.append(float(tiles(viewer.pixels(".stage"))["axial"].mean()))
        assert f"{viewer.page.input_value('#level')} {viewer.page.input_value('#width')}" == window
    assert means[1] > means[0] + 10  # in the window of the lung all tissue is bright
    viewer.set("#width", "300")
    assert viewer.page.input_value("#window") == ""


def test_one_plane_fills_the_view(viewer: Opened) -> None:
    small = of_class(tiles(viewer.pixels(".stage"))["axial"], labels.LIVER).sum()
    viewer.page.check("input[name=view][value=axial]")
    assert of_class(viewer.pixels(".stage"), labels.LIVER).sum() > 2 * small
    viewer.page.check("input[name=view][value=solid]")
    assert hues(viewer.pixels(".stage"), labels.LIVER).sum() > 100


def test_hostile_names_are_text(viewer: Opened) -> None:
    page = viewer.page
    assert page.locator("h1").inner_text() == ATTACK
    assert page.title().startswith(ATTACK)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 1
    assert page.locator("script").count() == 5
    viewer.page.locator("button.go[aria-label^='Go to duodenum']").click()
    assert ATTACK in page.locator("#measurements").inner_text()
    assert viewer.complaints == []


def test_the_keyboard_reaches_every_control_and_moves_planes(viewer: Opened) -> None:
    page = viewer.page
    focused = "(node => node.id || node.name || node.className || node.tagName)(document.activeElement)"
    page.focus(".skip")
    reached = [page.evaluate(focused)]
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(focused))
        if reached[-1] == "BODY" and len(reached) > 20:
            break
    wanted = ["skip", "planes", "solid", "view", "at-axial", "at-coronal", "at-sagittal", "window", "level", "width"]
    wanted += ["opacity", "all", "none", "organ", "SUMMARY", "wide", "go"]
    places = [reached.index(one) for one in wanted]
    assert places == sorted(places)
    page.focus("#planes")
    axial, sagittal = (int(page.input_value(f"#at-{name}")) for name in ("axial", "sagittal"))
    for key in ("ArrowUp", "ArrowUp", "ArrowLeft"):
        page.keyboard.press(key)
    assert int(page.input_value("#at-axial")) == axial + 2
    assert int(page.input_value("#at-sagittal")) == sagittal + 1  # sagittal planes are counted toward the right
    page.keyboard.press("v")  # NiiVue's own key for another view
    assert page.locator(".stage").get_attribute("data-view") == "all"
    outline = page.evaluate("getComputedStyle(document.getElementById('planes')).outlineStyle")
    assert outline == "solid"


def test_nothing_is_wider_than_a_telephone(viewer: Opened) -> None:
    viewer.page.set_viewport_size({"width": 400, "height": 800})
    try:
        assert viewer.page.evaluate("document.documentElement.scrollWidth") <= 400
        assert of_class(tiles(viewer.pixels(".stage"))["axial"], labels.LIVER).sum() > 30
    finally:
        viewer.page.set_viewport_size({"width": 900, "height": 700})


def test_without_webgl_the_page_says_so_and_shows_picture_and_tables(playwright: Any, hostile: Path) -> None:
    with opened(playwright, hostile, *NO_3D, width=400) as found:
        found.page.wait_for_selector("#message:visible")
        assert "no WebGL2" in found.page.locator("#message").inner_text()
        assert found.page.locator("#still img").is_visible()
        assert found.page.evaluate("document.querySelector('#still img').naturalWidth") == 1400
        assert not found.page.locator("#viewer").is_visible()
        assert "1 lesion" not in found.page.title()
        assert found.page.locator("tbody tr").count() == len(labels.CODES) + 1
        assert found.page.locator(".go:visible").count() == 0
        assert found.page.evaluate("document.documentElement.scrollWidth") <= 400
