"""A real Chromium with a renderer in software, that is offline and writes down all that goes wrong."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

SOFTWARE = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox")
NO_3D = ("--disable-3d-apis", "--no-sandbox")
LONGEST_MS = 240_000


@dataclass
class Opened:
    """A page, with what it asked for and complained about since it was opened."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def pixels(self, selector: str) -> npt.NDArray[np.uint8]:
        from PIL import Image

        content = self.page.locator(selector).screenshot(timeout=LONGEST_MS)
        return np.asarray(Image.open(BytesIO(content)).convert("RGB"))

    def set(self, selector: str, value: str) -> None:
        """What a user does with a slider, a field or a list."""
        self.page.eval_on_selector(
            selector,
            "(node, value) => { node.value = value;"
            " for (const kind of ['input', 'change']) node.dispatchEvent(new Event(kind)); }",
            value,
        )


@contextmanager
def opened(playwright: Any, file: Path, *flags: str, width: int = 900, height: int = 700) -> Iterator[Opened]:
    """Open a file by its path, without network.

    Args:
        playwright: what drives browsers.
        file: the page.
        flags: Chromium's.
        width: of the window, in pixels.
        height: of the window, in pixels.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium: apt-get install chromium")
    browser = playwright.chromium.launch(executable_path=chromium, args=list(flags or SOFTWARE), timeout=LONGEST_MS)
    try:
        context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
        page = context.new_page()
        page.set_default_timeout(LONGEST_MS)
        found = Opened(page)
        page.on("request", lambda request: found.requests.append(request.url))
        page.on("console", lambda message: found.complaints.append(message.text))
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (found.complaints.append(dialog.message), dialog.dismiss()))
        page.goto(file.as_uri())
        yield found
    finally:
        browser.close()
