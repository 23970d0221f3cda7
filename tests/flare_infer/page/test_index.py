"""The page of a folder of cases."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from flare_infer.page.index import IndexedCase, indexed, write_index
from flare_infer.page.preview import write_preview
from flare_infer.results.case import Flag
from tests.flare_infer.page.browser import NO_3D, opened
from tests.flare_infer.page.cases import phantom_case, statistics_of

ATTACK = "<img src=x onerror=\"window.hacked='index'\"></script><script>window.hacked='script'</script>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    case = phantom_case()
    statistics = statistics_of(case, [Flag(kind="organ cut", reason=ATTACK)])
    write_preview(tmp_path / "a#b: c%.png", case, statistics)
    (tmp_path / "a#b: c%.html").write_text("<title>found</title>")
    write_index(
        tmp_path / "index.html",
        [
            IndexedCase(name="case 10", page="case 10.html", volumes_ml={"liver": 1200.0, "spleen": 90.0}),
            IndexedCase(name=ATTACK, failure=ATTACK),
            indexed(statistics, page="a#b: c%.html", preview="a#b: c%.png"),
            IndexedCase(name="case 9", volumes_ml={"liver": 0.0}, page="javascript:alert(1)"),
        ],
    )
    return tmp_path


def test_links_are_relative_and_texts_escaped(folder: Path) -> None:
    html = (folder / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'(?:href|src)="([^"]*)"', html)
    assert links[0] == "data:,"
    assert all(link.startswith("./") for link in links[1:])
    assert [unquote(link) for link in links[1:]].count("./a#b: c%.html") == 1
    assert "<img src=x" not in html
    assert html.count("</script>") == 1
    assert "of which 1 failed" in html


def test_volumes_of_main_organs_have_columns(folder: Path) -> None:
    html = (folder / "index.html").read_text(encoding="utf-8")
    columns = re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', html)
    assert columns == ["case", "liver", "spleen", "right kidney", "left kidney", "pancreas", "tumor", "flags"]
    assert "1,200.0" in html


def test_other_models_have_the_columns_they_have(tmp_path: Path) -> None:
    write_index(tmp_path / "index.html", [IndexedCase(name="a", volumes_ml={"heart": 600.0, "lung": 3000.0})])
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', html) == ["case", "heart", "lung", "flags"]


def test_it_sorts_in_a_browser_and_a_hostile_name_does_nothing(playwright: Any, folder: Path) -> None:
    with opened(playwright, folder / "index.html", *NO_3D, width=400) as found:
        page = found.page
        names = "Array.from(document.querySelectorAll('td.case'), (cell) => cell.textContent)"
        assert page.evaluate(names) == ["case 10", ATTACK, "phantom", "case 9"]
        page.get_by_role("button", name="liver").press("Enter")
        assert page.evaluate(names) == [ATTACK, "case 9", "phantom", "case 10"]
        page.get_by_role("button", name="liver").press("Enter")
        assert page.evaluate(names)[0] == "case 10"
        assert page.locator("th[aria-sort=descending]").inner_text().startswith("liver")
        page.get_by_role("button", name="case").click()
        assert [name for name in page.evaluate(names) if name.startswith("case")] == ["case 9", "case 10"]
        assert page.evaluate("window.hacked") is None
        thumbnail = page.locator("img.thumbnail")
        thumbnail.scroll_into_view_if_needed()
        page.wait_for_function("() => document.querySelector('img.thumbnail').naturalWidth === 1400")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        assert found.complaints == []
        page.get_by_role("link", name="phantom").click()
        page.wait_for_url("**/a%23b*")
        assert page.title() == "found"
