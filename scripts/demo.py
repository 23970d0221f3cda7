"""The demo: one CT in, a label map, a table of volumes and a picture out. Run it with scripts/demo."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import demo_ct
import numpy as np
from rich.console import Console
from rich.table import Table

from flare_infer import labels
from flare_infer.errors import FlareError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.model.model_file import read_model_file
from flare_infer.model.weights import find_weights
from flare_infer.results.organ_volumes import cut_by_edge, volume_text, volumes_ml
from flare_infer.results.picture import COLORS, overlay
from flare_infer.shell.standard_streams import hold_standard_streams
from flare_infer.volume.orient import turn
from train.synth.phantom import paint_phantom

REAL: Final = "lidc_chest"
"""Name of the case that demo_ct fetches."""

PAINTED: Final = "phantom"
"""Name of the painted case."""


def place_input(download: Path, inputs: Path) -> str:
    """Make `inputs` a folder of one CT: the one of `demo_ct`, or a painted one where that cannot be had.

    Returns:
        The name of the case.

    Raises:
        FlareError: if the download is not what was expected, or `inputs` cannot be written to.
    """
    inputs.mkdir(parents=True, exist_ok=True)
    # The other CT, left here by an earlier run, would be segmented again.
    for name in (REAL, PAINTED):
        (inputs / f"{name}_0000.nii.gz").unlink(missing_ok=True)
    fetched = demo_ct.fetch(download)
    if fetched is not None:
        name = REAL
        shutil.copyfile(fetched.ct, inputs / f"{name}_0000.nii.gz")
        print("Input: a chest and upper abdomen CT of the public collection LIDC-IDRI")
    else:
        name = PAINTED
        write_volume(inputs / f"{name}_0000.nii.gz", paint_phantom(np.random.default_rng(0))[0])
        print(f"Input: a painted CT; {demo_ct.PACKAGE}, which holds a real one, cannot be downloaded (no network?)")
    return name


def show(name: str, inputs: Path, outputs: Path, picture: Path) -> None:
    """Print the volume of each class as a table, and draw the picture; what the scan cuts is marked as a least volume.

    Raises:
        FlareError: if a file cannot be read or Pillow is missing.
    """
    image = turn(read_volume(inputs / f"{name}_0000.nii.gz"), "LPS")[0]
    found = turn(read_volume(outputs / f"{name}.nii.gz"), "LPS")[0]
    spacing_mm = image.placement.spacing_mm

    table = Table(title=f"Volumes in {name}")
    table.add_column("structure")
    table.add_column("mL", justify="right")
    cut = cut_by_edge(found.array_zyx)
    for code, volume in volumes_ml(found.array_zyx, spacing_mm).items():
        red, green, blue = COLORS[code]
        square = f"[rgb({red},{green},{blue})]\u25a0[/]"
        table.add_row(f"{square} {labels.NAMES[code]}", volume_text(volume, cut=code in cut))
    Console().print(table)
    if cut:
        print(">: reaches the edge of the scan; what lies beyond it is not counted.")
    overlay(image.array_zyx, found.array_zyx, spacing_mm, title=name).save(picture)


def seen_before(name: str) -> str | None:
    """A line if the weights learned from the demo's CT, as their model.json says; None otherwise.

    Raises:
        FlareError: if there are no weights, or their model.json cannot be read.
    """
    spec = read_model_file(find_weights(None)).spec
    if name == PAINTED:
        return f"A painted CT shows that everything runs, not how good the weights are ({spec.name} learned from such)."
    learned_from = spec.training.get("cases")
    if isinstance(learned_from, list) and name in learned_from:
        return (
            f"The weights ({spec.name}) learned from this very CT: the result looks better than it would on another. "
            "README.md says how good they are on patients they never saw."
        )
    return None


def when_written(path: Path) -> int | None:
    """The time of a file's last change in nanoseconds; None if it is not there."""
    return path.stat().st_mtime_ns if path.exists() else None


def main(demo: Path) -> int:
    """Run the demo in the folder `demo`; returns the exit code."""
    hold_standard_streams()
    inputs, outputs, picture = demo / "inputs", demo / "outputs", demo / "overlay.png"
    try:
        name = place_input(demo / "download", inputs)
        label_map = outputs / f"{name}.nii.gz"
        there = when_written(label_map)
        print(f"Segmenting {name} ...", flush=True)  # before the other process speaks
        started = time.perf_counter()
        command = [sys.executable, "-m", "flare_infer", "predict", str(inputs), str(outputs)]
        code = subprocess.run(command, check=False).returncode
        if code != 0:
            print(f"demo: segmenting failed with exit code {code}; its message is above", file=sys.stderr)
            return code
        seconds = time.perf_counter() - started
        show(name, inputs, outputs, picture)
        note = seen_before(name)
    except FlareError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    if when_written(label_map) == there:
        print("Nothing was segmented: an earlier run left the label map of this CT by these weights.")
    else:
        print(f"Segmented in {seconds:.1f} s, start of Python and loading of the network included.")
    if note is not None:
        print(note)
    print(f"Label map: {label_map}")
    print(f"Picture:   {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent.parent / "demo"))
