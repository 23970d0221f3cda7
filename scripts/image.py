"""Build the challenge's image and print how large it is and which parts are the largest; `sh scripts/image --help`."""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from container_engine import (
    TOOLS,
    Engine,
    ImageBuildError,
    find_engine,
    install_tools,
    last_line,
    make_debian_base,
    pip_sources,
)

ROOT: Final = Path(__file__).resolve().parent.parent
SMALL_BYTES: Final = 5_000_000
"""Parts below this size share one line of the table."""


def main(words: list[str] | None = None) -> int:
    """Build, measure and print; returns the exit code, 0, or 2 if nothing could be built."""
    options = _options().parse_args(words)
    if options.packages:
        print(" ".join(TOOLS))
        return 0
    try:
        engine = engine_here(install=options.install)
        if options.engine:
            print(engine.name)
            return 0
        base = make_debian_base(engine) if options.base == "debian" else options.base
        build_image(engine, options.tag, base, options.extras, options.index)
        table = size_table(sizes_of(engine, options.tag))
    except ImageBuildError as error:
        print(f"image: {error}", file=sys.stderr)
        return 2
    print(f"\n{options.tag}\n\n{table}")
    return 0


def engine_here(*, install: bool, storage: Path | None = None) -> Engine:
    """The engine of this machine.

    Args:
        install: whether to install one from Debian's packages if there is none.
        storage: folder in which podman keeps its images; None for its own.

    Raises:
        ImageBuildError: if there is none.
    """
    engine = find_engine(storage)
    if engine is None and install:
        reason = install_tools()
        if reason:
            raise ImageBuildError(reason)
        engine = find_engine(storage)
    if engine is None:
        raise ImageBuildError("no Docker engine and no buildah, podman and runc found; --install gets them on Debian")
    return engine


def build_image(engine: Engine, tag: str, base: str | None, extras: str = "", index: str = "") -> None:
    """Build the checkout's image.

    Args:
        engine: program that builds the image.
        tag: name of the image.
        base: name of the image to build on; None for that of the Dockerfile.
        extras: requirements beyond requirements.txt, separated by spaces.
        index: address of a further package index.

    Raises:
        ImageBuildError: if the build fails.
    """
    given = {"BASE_IMAGE": base, "EXTRAS": extras, "PIP_EXTRA_INDEX_URL": index, **source()}
    engine.build(ROOT, tag, {name: value for name, value in given.items() if value}, pip_sources())


def source() -> dict[str, str]:
    """Where this checkout comes from and which commit it is, as far as git knows; never a password."""
    return {
        "SOURCE": re.sub(r"//[^/@]*@", "//", _git("remote", "get-url", "origin")),
        "REVISION": _git("rev-parse", "HEAD"),
    }


def sizes_of(engine: Engine, image: str) -> dict[str, int]:
    """Bytes by group of files, counted inside the image.

    Raises:
        ImageBuildError: if the image does not run.
    """
    script = (ROOT / "scripts" / "image_size.py").read_text(encoding="utf-8")
    found = engine.run(image, ["python3", "-"], ["--interactive", "--network=none"], stdin=script)
    if found.returncode != 0:
        raise ImageBuildError(f"{image}: {last_line(found.stderr)}")
    sizes: dict[str, int] = json.loads(found.stdout)
    return sizes


def size_table(sizes: Mapping[str, int]) -> str:
    """Sizes as a table in Markdown, the largest first."""
    large = {name: size for name, size in sizes.items() if size >= SMALL_BYTES}
    rows = sorted(large.items(), key=lambda row: -row[1])
    rows.append(("everything smaller", sum(sizes.values()) - sum(large.values())))
    lines = ["| what | MB |", "|:---|---:|", *(f"| {name} | {size / 1e6:.1f} |" for name, size in rows)]
    return "\n".join([*lines, f"| **together** | **{sum(sizes.values()) / 1e6:.1f}** |"])


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/image", description=__doc__)
    parser.add_argument("--tag", default="flare", help="name of the image (default: %(default)s)")
    parser.add_argument("--base", help="image to stand on, or 'debian' to make one (default: the Dockerfile's)")
    parser.add_argument("--extras", default="", help="further requirements, as 'torch==2.13.0+cpu'")
    parser.add_argument("--index", default="", metavar="ADDRESS", help="a further package index, where they are found")
    parser.add_argument("--engine", action="store_true", help="name what builds and runs images here, and end")
    parser.add_argument("--packages", action="store_true", help="name the packages that --install installs, and end")
    parser.add_argument("--install", action="store_true", help="without an engine: install one (root, Debian)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
