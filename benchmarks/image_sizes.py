"""How large images are, and what takes the place.

Usage: python -m benchmarks.image_sizes REPORT IMAGE...

The images are there already, as `sh scripts/image` makes them; each is run once, to count its files from the inside.
"""

import datetime
import json
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from container_engine import Engine  # noqa: E402 - found only now
from image import engine_here, size_table, sizes_of  # noqa: E402

WHAT = """
import json, platform
from importlib.metadata import version
print(json.dumps([version("torch"), platform.python_version(), platform.freedesktop_os_release()["PRETTY_NAME"]]))
"""
"""What is in an image, asked of its Python."""


def main(report: Path, images: list[str]) -> None:
    """Measure and write the report."""
    engine = engine_here(install=False)
    lines = [
        "# Size of the image",
        "",
        f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}, {platform.machine()}, built with {engine.builder[0]}. "
        "Written by `benchmarks/image_sizes.py`.",
        "",
        "Uncompressed, 1 MB = 1,000,000 bytes. A name is a Python package with its libraries.",
        "",
    ]
    for image in images:
        torch, python, base = json.loads(engine.run(image, ["python3", "-c", WHAT]).stdout)
        lines += [f"## PyTorch {torch}", "", f"On {base} with Python {python}.", ""]
        lines += [size_table(sizes_of(engine, image)), ""]
        lines += [f"As the challenge takes it, `save | gzip`: {saved_bytes(engine, image) / 1e6:.1f} MB.", ""]
    report.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")


def saved_bytes(engine: Engine, image: str) -> int:
    """Length of the compressed archive, which is not kept."""
    total = 0
    with (
        subprocess.Popen(
            [*engine.control, "save", image], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as archive,
        subprocess.Popen(["gzip"], stdin=archive.stdout, stdout=subprocess.PIPE) as small,
    ):
        if small.stdout is not None:
            while block := small.stdout.read(1 << 20):
                total += len(block)
    if archive.returncode or small.returncode:
        sys.exit(f"{image}: cannot be saved")
    return total


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
