"""Several processes that segment one folder together."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from flare_infer.formats.volume_io import find_images, write_volume
from flare_infer.runs.case_result import CaseResult, FolderCallbacks
from flare_infer.runs.claims import CLAIMS_FOLDER, Claims
from flare_infer.runs.folder import predict_cases
from flare_infer.runs.further import OutputForms
from flare_infer.runs.report import REPORT_FILE
from flare_infer.segment.segmenter import Segmenter
from flare_infer.volume.volume import Volume

CASES = 8


@pytest.fixture
def inputs(tmp_path: Path, scan: Volume) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    for number in range(CASES):
        rolled = replace(scan, array_zyx=scan.array_zyx[:, :, ::-1].copy() if number % 2 else scan.array_zyx)
        write_volume(folder / f"case{number}_0000.nii.gz", rolled)
    (folder / "bad_0000.nii.gz").write_bytes(b"no image")
    return folder


def start(inputs: Path, outputs: Path, weights: Path) -> subprocess.Popen[str]:
    command = ["predict", inputs, outputs, "--weights", weights, "--device", "cpu", "--share"]
    return subprocess.Popen(
        [sys.executable, "-m", "flare_infer", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ,
    )


def label_maps(outputs: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(outputs.glob("*.nii.gz"))}


def statuses(outputs: Path) -> dict[str, str]:
    return {case["name"]: case["status"] for case in json.loads((outputs / REPORT_FILE).read_text())["cases"]}


def test_processes_share_a_folder_and_a_report(inputs: Path, tmp_path: Path, tiny_weights: Path) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    predict_cases_alone(inputs, alone, tiny_weights)
    shared.mkdir()
    processes = [start(inputs, shared, tiny_weights) for _ in range(3)]
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [1, 1, 1], said  # bad_0000 fails in the eyes of all
    assert label_maps(shared) == label_maps(alone)
    written = Counter(line.partition(":")[0] for text in said for line in text.splitlines() if ": written in" in line)
    assert set(written.values()) == {1}
    assert len(written) == CASES
    found = statuses(shared)
    assert found.pop("bad") == "failed"
    assert found == {f"case{number}": found[f"case{number}"] for number in range(CASES)}
    assert set(found.values()) <= {"written", "done before"}
    left = {path.name for path in shared.iterdir()} - set(label_maps(shared))
    assert {name for name in left if name[0] != "."} == {REPORT_FILE, "report.csv"}
    assert not [name for name in left if "journal" in name or name.startswith(".writing")]


def predict_cases_alone(inputs: Path, outputs: Path, weights: Path) -> list[CaseResult]:
    outputs.mkdir(exist_ok=True)
    return predict_cases(Segmenter.load(weights), find_images(inputs), outputs)


class Worker:
    """One process's view, run within the test."""

    def __init__(self, inputs: Path, outputs: Path, weights: Path, stale_seconds: float = 60.0) -> None:
        self.cases, self.outputs = find_images(inputs), outputs
        self.segmenter = Segmenter.load(weights)
        self.claims = Claims(outputs, stale_seconds)
        self.notices: list[str] = []

    def run(self) -> dict[str, CaseResult]:
        callbacks = FolderCallbacks(notice=lambda name, line, routine: self.notices.append(line))
        forms = OutputForms(claims=self.claims)
        results = predict_cases(self.segmenter, self.cases, self.outputs, callbacks, forms=forms)
        return {result.name: result for result in results}


def test_a_case_whose_process_died_is_done_last(inputs: Path, tmp_path: Path, tiny_weights: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    dead = Claims(outputs, 0.5)
    (outputs / CLAIMS_FOLDER).mkdir()
    assert dead.take("case0") == 1
    time.sleep(0.6)
    worker = Worker(inputs, outputs, tiny_weights, 0.5)
    results = worker.run()
    assert list(results)  # in the order of the cases, whatever came last
    assert results["case0"].output is not None
    assert any("was started 1 time(s) and not ended" in line for line in worker.notices)
    assert statuses(outputs)["case0"] == "written"


def test_a_case_that_ends_every_process_fails_in_the_end(inputs: Path, tmp_path: Path, tiny_weights: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    (outputs / CLAIMS_FOLDER).mkdir()
    for _ in range(8):
        assert Claims(outputs, 0.05).take("case0")
        time.sleep(0.1)
    results = Worker(inputs, outputs, tiny_weights, 0.5).run()
    assert "was started 8 times and never ended" in results["case0"].reason
    assert statuses(outputs) | {"case0": "", "bad": ""} == {
        "bad": "",
        **{f"case{number}": "written" if number else "" for number in range(CASES)},
    }


def test_what_another_process_did_is_not_done_again(inputs: Path, tmp_path: Path, tiny_weights: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    Worker(inputs, outputs, tiny_weights).run()
    before = {path.name: path.stat().st_mtime_ns for path in outputs.glob("*.nii.gz")}
    results = Worker(inputs, outputs, tiny_weights).run()
    assert all(result.done_before for name, result in results.items() if name != "bad")
    assert {path.name: path.stat().st_mtime_ns for path in outputs.glob("*.nii.gz")} == before
    alone = predict_cases_alone(inputs, outputs, tiny_weights)
    assert all(result.done_before for result in alone if result.name != "bad")


@pytest.mark.slow
def test_processes_that_are_killed_leave_every_case_done_once(inputs: Path, tmp_path: Path, tiny_weights: Path) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    predict_cases_alone(inputs, alone, tiny_weights)
    shared.mkdir()
    draw = random.Random(1)
    for _ in range(4):
        process = start(inputs, shared, tiny_weights)
        deadline = time.monotonic() + 60
        wanted = len(label_maps(shared)) + 1
        while len(label_maps(shared)) < wanted and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    for path in (shared / CLAIMS_FOLDER).iterdir():
        os.utime(path, (0, 0))  # as if a minute had gone by
    last = start(inputs, shared, tiny_weights)
    said, _ = last.communicate(timeout=300)
    assert last.returncode == 1, said
    assert label_maps(shared) == label_maps(alone)
    assert Counter(statuses(shared).values())["failed"] == 1
    assert not list(shared.glob(".writing*"))
