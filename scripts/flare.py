"""The commands of this checkout, as the scripts run them."""

import subprocess
import sys
from pathlib import Path


def flare(package: str, *arguments: str | Path) -> None:
    """Run a command of this checkout: `train` is flare-train, `infer` flare-infer."""
    command = f"from {'train' if package == 'train' else 'flare_infer'}.cli import main; main()"
    subprocess.run([sys.executable, "-c", command, *map(str, arguments)], check=True)


def segment(scans: Path, predictions: Path, weights: Path) -> None:
    """Label maps of a folder of scans; what is there already is kept."""
    if not predictions.is_dir():
        unfinished = predictions.with_name("unfinished")
        flare("infer", "predict", scans, unfinished, "--weights", weights)
        unfinished.rename(predictions)
