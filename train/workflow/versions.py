"""What was installed when a run began or went on."""

import platform
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from flare_infer.files.write_whole import write_json
from flare_infer.version import __version__

VERSIONS_FILE: Final = "versions.json"


def write_versions(run: Path) -> None:
    """Write versions of this program, Python, the system and every package, for whoever repeats the run."""
    packages = {found.metadata["Name"]: found.version for found in distributions() if found.metadata["Name"]}
    content = {
        "program": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }
    write_json(run / VERSIONS_FILE, content)
