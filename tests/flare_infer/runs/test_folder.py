"""Cases of a folder one after the other, while the next is read and the last is written."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.runs import case_steps, folder
from flare_infer.runs.case_files import find_cases
from flare_infer.runs.folder import CaseResult, FolderCallbacks, predict_cases
from flare_infer.runs.ledger import Ledger
from flare_infer.segment.budget import Budget
from flare_infer.segment.segmenter import Segmenter
from flare_infer.volume.volume import Volume
from tests.tiny import tiny_spec

SECONDS = 20.0
"""Long enough for any machine; a test that waits so long fails."""


@pytest.fixture
def cases(tmp_path: Path, scan: Volume) -> dict[str, Path]:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for name in "abc":
        write_volume(inputs / f"{name}_0000.nii.gz", scan)
    return dict(find_cases(inputs).cases)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    made = tmp_path / "outputs"
    made.mkdir()
    return made


class Sign(nn.Module):
    """Calls bright voxels body, after it has waited for an event."""

    def __init__(self, event: threading.Event | None = None) -> None:
        super().__init__()
        self.event = event
        self.in_time: list[bool] = []

    def forward(self, batch_nczyx: Tensor) -> Tensor:
        if self.event is not None:
            self.in_time.append(self.event.wait(SECONDS))
        return torch.cat((-batch_nczyx, batch_nczyx), dim=1)


def segmenter(network: nn.Module) -> Segmenter:
    return Segmenter(spec=tiny_spec(labels=("background", "body")), run=network)


def test_the_next_case_is_read_while_this_one_runs(
    cases: dict[str, Path], outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_is_read = threading.Event()

    def read(path: Path) -> Volume:
        if path == cases["b"]:
            second_is_read.set()
        return read_volume(path)

    monkeypatch.setattr("flare_infer.runs.scan.read_volume", read)
    network = Sign(second_is_read)
    results = predict_cases(segmenter(network), cases, outputs)
    assert all(network.in_time)
    assert [result.name for result in results if result.output] == ["a", "b", "c"]


def test_the_last_case_is_written_while_this_one_runs(
    cases: dict[str, Path], outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_runs = threading.Event()
    in_time = []

    def write(path: Path, volume: Volume, when_whole: Callable[[Path], None]) -> None:
        if path.name == "a.nii.gz":
            in_time.append(second_runs.wait(SECONDS))
        write_volume(path, volume, when_whole)

    class Announce(Sign):
        def forward(self, batch_nczyx: Tensor) -> Tensor:
            self.in_time.append(True)
            if len(self.in_time) > windows:
                second_runs.set()
            return super().forward(batch_nczyx)

    windows = segmenter(Sign()).segment(read_volume(cases["a"])).windows_ran
    monkeypatch.setattr(case_steps, "write_volume", write)
    results = predict_cases(segmenter(Announce()), cases, outputs)
    assert in_time == [True]
    assert all(result.output for result in results)


def test_with_bounded_memory_one_case_is_held_at_a_time(
    cases: dict[str, Path], outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    class Reader(ThreadPoolExecutor):
        def submit(self, work: Callable[..., Any], /, *arguments: Any, **words: Any) -> Future[Any]:
            # At this moment, not when the thread gets its turn, which may be late on a busy machine.
            if len(arguments) == 1:
                events.append(f"read {arguments[0]}")
            return super().submit(work, *arguments, **words)

    class Note(Sign):
        def forward(self, batch_nczyx: Tensor) -> Tensor:
            events.append("run")
            return super().forward(batch_nczyx)

    monkeypatch.setattr(folder, "ThreadPoolExecutor", Reader)
    bounded = replace(segmenter(Note()), budget=Budget(ram_bytes=10**12))
    predict_cases(bounded, cases, outputs)
    assert events.index("run") < events.index("read b")
    assert "run" in events[events.index("read b") : events.index("read c")]


def test_results_come_in_order_whatever_fails(cases: dict[str, Path], outputs: Path) -> None:
    cases["b"].write_bytes(b"no image")
    told: list[CaseResult] = []
    results = predict_cases(segmenter(Sign()), cases, outputs, FolderCallbacks(finished=told.append))
    assert told == results
    assert [(result.name, result.output is not None) for result in results] == [("a", True), ("b", False), ("c", True)]
    assert str(cases["b"]) in results[1].reason
    assert results[0].windows >= results[0].windows_ran > 0


def test_what_fails_while_writing_is_the_cases_own_failure(
    cases: dict[str, Path], outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (outputs / "b.nii.gz").mkdir()
    results = predict_cases(segmenter(Sign()), cases, outputs)
    assert [result.output is not None for result in results] == [True, False, True]
    assert "b.nii.gz: could not be written" in results[1].reason


def test_the_line_of_a_case_that_does_not_fit_names_its_file(cases: dict[str, Path], outputs: Path) -> None:
    bounded = replace(segmenter(Sign()), budget=Budget(ram_bytes=10**6))
    results = predict_cases(bounded, cases, outputs)
    assert [result.reason.split(": needs about")[0] for result in results] == [str(path) for path in cases.values()]


def test_files_that_claim_one_case_fail_by_name_and_the_others_are_found(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a_0000.nii.gz", "a.mha", "b_0000.nii.gz", "b.a.mha"):
        (tmp_path / name).touch()
    cases, failures, *_ = find_cases(tmp_path)
    assert list(cases) == ["b.a", "b"]
    assert [(failure.name, failure.output) for failure in failures] == [("a", None)]
    assert failures[0].reason == (f"{tmp_path}: a.mha and a.nii.gz and a_0000.nii.gz are one case, a; keep one of them")


def test_a_single_file_is_a_case_whatever_lies_beside_it(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a_0000.nii.gz"):
        (tmp_path / name).touch()
    assert find_cases(tmp_path / "a.nii.gz") == ({"a": tmp_path / "a.nii.gz"}, (), (), ())


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 3 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_a_case_for_which_memory_runs_out_says_so(cases: dict[str, Path], outputs: Path, error: Exception) -> None:
    class Greedy(Sign):
        def forward(self, batch_nczyx: Tensor) -> Tensor:
            raise error

    results = predict_cases(segmenter(Greedy()), {"a": cases["a"]}, outputs)
    assert results[0].reason.startswith(f"{cases['a']}: memory ran out ({error}); ")
    assert results[0].details == ""


def test_another_error_of_the_same_kind_is_no_lack_of_memory(cases: dict[str, Path], outputs: Path) -> None:
    class Wrong(Sign):
        def forward(self, batch_nczyx: Tensor) -> Tensor:
            raise RuntimeError("shapes do not fit")

    results = predict_cases(segmenter(Wrong()), {"a": cases["a"]}, outputs)
    assert "unexpected RuntimeError: shapes do not fit" in results[0].reason


def test_a_case_that_was_never_ended_comes_last_and_alone(
    cases: dict[str, Path], outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def read(path: Path) -> Volume:
        events.append(f"read {path.name[0]}")
        return read_volume(path)

    def write(path: Path, volume: Volume, when_whole: Callable[[Path], None]) -> None:
        write_volume(path, volume, when_whole)
        events.append(f"wrote {path.name[0]}")

    Ledger(outputs, {}, dict.fromkeys(cases, "scan"), events.append).__enter__().started("a")
    monkeypatch.setattr("flare_infer.runs.scan.read_volume", read)
    monkeypatch.setattr(case_steps, "write_volume", write)
    results = predict_cases(segmenter(Sign()), cases, outputs)
    assert [result.name for result in results] == ["a", "b", "c"]
    assert events.index("wrote c") < events.index("read a")
