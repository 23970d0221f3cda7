"""On what a number was measured."""

import os
import platform
from importlib.metadata import version


def machine(*packages: str) -> str:
    """Processor, cores, Python and the versions that matter, in a line."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", *packages))
    return f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return f"{platform.machine()} CPU"
