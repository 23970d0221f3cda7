"""What three cases say about the rest."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from flare_infer.cluster.estimate import estimated, sample_of
from flare_infer.runs.case_result import CaseResult
from flare_infer.runs.report import REPORT_FILE, CaseRecord, write_run_report

KIB = 1024


@pytest.fixture
def cases(tmp_path: Path) -> dict[str, Path]:
    """Ten scans of 100 to 1000 KiB."""
    made = {}
    for number in range(1, 11):
        made[f"c{number:02}"] = tmp_path / f"c{number:02}.nii.gz"
        made[f"c{number:02}"].write_bytes(b"0" * 100 * KIB * number)
    return made


def write(outputs: Path, *records: CaseRecord) -> None:
    outputs.mkdir(exist_ok=True)
    write_run_report(outputs, {}, records, safely=False)
    assert json.loads((outputs / REPORT_FILE).read_text())["cases"] == [asdict(r) | {"notices": []} for r in records]


def test_the_smallest_the_median_and_the_largest_of_those_left(cases: dict[str, Path], tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    assert list(sample_of(cases, outputs)) == ["c01", "c06", "c10"]
    write(outputs, CaseRecord(name="c10", status="written"), CaseRecord(name="c01", status="failed"))
    assert list(sample_of(cases, outputs)) == ["c01", "c05", "c09"]
    assert list(sample_of({"c01": cases["c01"]}, outputs)) == ["c01"]
    assert list(sample_of({"c10": cases["c10"]}, outputs)) == []


def test_time_grows_with_size_from_a_fixed_cost_on(cases: dict[str, Path], tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    seconds = {"c01": 10.0 + 20, "c06": 10.0 + 120, "c10": 10.0 + 200}
    write(
        outputs,
        *(
            CaseRecord(name=name, status="written", seconds=value, peak_memory_mib=512 + value)
            for name, value in seconds.items()
        ),
    )
    results = []
    for name, value in seconds.items():
        results.append(CaseResult(name=name, output=outputs / f"{name}.nii.gz", seconds=value))
        (outputs / f"{name}.nii.gz").write_bytes(b"0" * cases[name].stat().st_size)
    line = estimated(cases, results, outputs, workers=2)
    # Left: 2, 3, 4, 5, 7, 8, 9 of 20 s a step, and 10 s each: 38 * 20 + 7 * 10 = 830 s; and 3800 KiB.
    found = re.fullmatch(r"estimate: 7 case\(s\) left; (.*) with 2 such.* up to (.*) GiB of memory; (.*) MiB .*", line)
    assert found is not None, line
    assert found.groups() == ("7 min", "0.7", "4")
    assert "14 min with 1" in estimated(cases, results, outputs, workers=1)


def test_nothing_measured_is_said(cases: dict[str, Path], tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    write(outputs, CaseRecord(name="c01", status="failed", reason="no image"))
    assert "nothing was measured" in estimated(
        cases, [CaseResult(name="c01", output=None, seconds=0)], outputs, workers=1
    )
