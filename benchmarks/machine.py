"""The lines under a report's title: when and on what it was measured, by which script, and with which weights."""

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from flare_infer.backends.cores import cores_of_job
from flare_infer.files.hashing import sha256_of_file
from flare_infer.model.model_file import read_model_file
from flare_infer.model.weights import WEIGHTS_FILE

SHIPPED: Final = Path(__file__).resolve().parent.parent / "weights" / "lite"
"""The weights in this repository."""


def dated(script: str, *packages: str) -> str:
    """Date, processor, versions (of torch and what else matters) and script, as one line."""
    machine = _machine(("torch", *packages))
    return f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}, {machine}. Written by `benchmarks/{script}`."


def made_with(weights: Path) -> str:
    """Name and SHA-256 of the weights that a report is made with, and whether they are the shipped ones, as one line.

    Args:
        weights: a weights directory.
    """
    sha256 = sha256_of_file(weights / WEIGHTS_FILE)
    shipped = "the shipped ones" if sha256 == read_model_file(SHIPPED).sha256 else "not the shipped ones"
    return f"Weights: {weights.resolve().name}, SHA-256 {sha256}, {shipped}."


def _machine(packages: tuple[str, ...]) -> str:
    versions = ", ".join(f"{name} {found}" for name in packages if (found := _version(name)))
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    huge = f", huge pages {pages.read_text().strip()}" if pages.exists() else ""
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    cores = f"{cores_of_job()} cores, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}"
    return f"{_processor()}, {cores}{huge}, Python {platform.python_version()}, {versions}, {load}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return f"{name} ({', '.join(flag for flag in ('avx2', 'avx512f', 'avx512_bf16', 'amx_tile') if flag in flags)})"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
