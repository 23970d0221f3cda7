"""A program that uses the package sees exact types through its door, and no name that is not there."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

PROGRAM = """
from collections.abc import Mapping
from typing import assert_type

import numpy as np
import SimpleITK as sitk

import flare_infer as flare
from flare_infer.results.case import CaseStatistics

result = flare.segment("ct.nii.gz", progress=lambda done, total: print(done / total))
assert_type(flare.load(device="cpu"), flare.Model)
def of_image(image: sitk.Image) -> flare.Result:
    return flare.load().segment(image)

assert_type(flare.load().segment((np.zeros((3, 3, 3)), (1, 1, 1), (0, 0, 0), np.eye(3))), flare.Result)
assert_type(result.volumes_ml, Mapping[str, float])
assert_type(result.statistics, CaseStatistics)
assert_type(result.labels, sitk.Image)
assert_type(result.array.dtype, np.dtype[np.uint8])
assert_type(flare.__version__, str)
flare.segmnt
flare.segment(7)
"""


@pytest.mark.slow
def test_types_are_exact_and_wrong_names_are_found(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    settings = ["--config-file", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-m", "mypy", *settings, str(tmp_path / "program.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if "program.py" in line and " error: " in line]
    last = len(PROGRAM.splitlines())
    assert [line.split(":")[1] for line in found] == [str(last - 1), str(last)], done.stdout
    assert 'Module has no attribute "segmnt"' in found[0]
    assert 'Argument 1 to "segment" has incompatible type "int"' in found[1]
