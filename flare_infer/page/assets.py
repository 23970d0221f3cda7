"""The files that pages are made of, and the policy that lets a page run nothing but its own scripts."""

import base64
import gzip
import hashlib
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from flare_infer.files.write_whole import whole_file

NIIVUE_VERSION: Final = "0.69.0"
NIIVUE_SHA256: Final = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
"""Of the script as the npm package has it."""

_FOLDER: Final = resources.files("flare_infer.page")


@lru_cache(maxsize=1)
def niivue() -> Markup:
    """The viewer's library, as one script."""
    packed = _FOLDER.joinpath("niivue", "niivue.umd.js.gz").read_bytes()
    return Markup(gzip.decompress(packed).decode("utf-8"))


def asset(name: str) -> Markup:
    """A template, style sheet or script of ours, which is not escaped."""
    return Markup(_FOLDER.joinpath("assets", name).read_text(encoding="utf-8"))


def write_page(path: Path, template: str, **content: Any) -> None:
    """Write a page piece by piece: every text that is not marked as ours is escaped.

    Args:
        path: the file; its final name appears only when it is whole.
        template: name of the template.
        content: what it asks for.

    Raises:
        NotWrittenError: if the file cannot be written.
    """
    with whole_file(path) as part, part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.writelines(_environment().get_template(template).generate(content))


def policy(scripts: list[Markup], styles: list[Markup], images: str) -> str:
    """What a page may load and run: these scripts and styles, by their hashes, and nothing from a network.

    Args:
        scripts: the scripts in the page.
        styles: the style sheets in the page.
        images: where images may come from, such as "data:".
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(_hash(script) for script in scripts)}",
            f"style-src {' '.join(_hash(style) for style in styles)}",
            f"img-src {images}",
            "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(content: Markup) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode('ascii')}'"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(lambda name: str(asset(name))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
