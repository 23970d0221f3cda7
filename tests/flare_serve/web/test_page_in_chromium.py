"""The page in a real browser: a scan is chosen, followed, looked at, downloaded and deleted."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from flare_infer.commands.app import app
from flare_infer.labels import AORTA, LEFT_KIDNEY, LIVER, SPLEEN
from flare_infer.results.picture import COLORS
from flare_infer.results.statistics_files import read_statistics
from flare_infer.segment.segmenter import Segmenter
from flare_serve.web.access import Access
from tests.flare_infer.page.browser import LONGEST_MS, SOFTWARE
from tests.flare_serve.served import Served, served
from tests.real_data import CHECKOUT
from tests.script import load_script

LITE = CHECKOUT / "weights" / "lite"
TOKEN = "a-token-of-this-test"


@pytest.fixture
def with_token(segmenter: Segmenter, tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "spool", segmenter, access=Access(token=TOKEN)) as found:
        yield found


@pytest.fixture
def page(playwright: Any) -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium: apt-get install chromium")
    browser = playwright.chromium.launch(executable_path=chromium, args=list(SOFTWARE), timeout=LONGEST_MS)
    try:
        found = browser.new_context(viewport={"width": 400, "height": 800}, accept_downloads=True).new_page()
        found.set_default_timeout(LONGEST_MS)
        yield found
    finally:
        browser.close()


def shown_of(frame: Any, code: int) -> int:
    """How many pixels of the planes in the viewer have the color of a class."""
    frame.locator("#opacity").evaluate(
        "node => { node.value = 100; for (const kind of ['input', 'change']) node.dispatchEvent(new Event(kind)); }"
    )
    content = frame.locator(".planes canvas").screenshot(timeout=LONGEST_MS)
    pixels = np.asarray(Image.open(BytesIO(content)).convert("RGB")).astype(int)
    return int((np.abs(pixels - COLORS[code]).max(axis=2) <= 6).sum())


def test_a_scan_from_the_choice_of_a_file_to_its_end(
    page: Any, with_token: Served, scan_file: Path, predicted: bytes
) -> None:
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    address = with_token.running.address

    page.goto(address)
    page.fill("#token", "wrong wrong wrong wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#wrong:not([hidden])")
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector("#main:not([hidden])")

    with page.expect_file_chooser() as chosen:
        page.focus("#choose-files")
        page.keyboard.press("Enter")
    chosen.value.set_files(str(scan_file))
    page.wait_for_selector("#jobs > li[data-state=done]")
    assert page.locator("#jobs h3").inner_text() == scan_file.name
    assert page.evaluate("document.documentElement.scrollWidth") <= 400

    with page.expect_download() as download:
        page.click("a:text-is('labels.nii.gz')")
    assert Path(download.value.path()).read_bytes() == predicted

    page.focus("#jobs button")
    page.keyboard.press("Enter")
    frame = page.frame_locator("#viewer")
    frame.locator("#viewer[data-ready=yes]").wait_for()
    (job,) = with_token.store.jobs()
    found = read_statistics(with_token.store.result_of(job, "statistics.json")).classes
    largest = max(found, key=lambda one: one.volume_ml)
    assert shown_of(frame, largest.code) > 500

    page.click("#close")
    for _ in range(2):
        page.click("#jobs button:last-child")
    page.wait_for_selector("#jobs > li", state="detached")
    assert with_token.store.jobs() == []
    assert {url for url in requests if not url.startswith((address, "blob:", "data:"))} == set()
    assert [line for line in complaints if "401" not in line] == []


@pytest.mark.slow
def test_the_ct_of_the_demo_with_the_shipped_model(page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = load_script("demo_ct", monkeypatch).fetch(tmp_path / "demo")
    if case is None:
        pytest.skip("the demo's CT cannot be downloaded: no network")
    from playwright.sync_api import expect

    alone = tmp_path / "alone.nii.gz"
    words = ["predict", str(case.ct), str(alone), "--weights", str(LITE), "--device", "cpu", "--backend", "torch"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    with served(tmp_path / "spool", replace(Segmenter.load(LITE), with_confidence=True)) as service:
        page.goto(service.running.address)
        page.set_input_files("#files", str(case.ct))
        expect(page.locator("#jobs .state")).to_have_text(re.compile(r"[1-9]\d* of \d+ windows"), timeout=LONGEST_MS)
        page.wait_for_selector("#jobs > li[data-state=done]")
        with page.expect_download() as download:
            page.click("a:text-is('labels.nii.gz')")
        assert Path(download.value.path()).read_bytes() == alone.read_bytes()
        page.click("button:text-is('Show')")
        frame = page.frame_locator("#viewer")
        frame.locator("#viewer[data-ready=yes]").wait_for()
        assert min(shown_of(frame, code) for code in (LIVER, SPLEEN, LEFT_KIDNEY, AORTA)) > 20
