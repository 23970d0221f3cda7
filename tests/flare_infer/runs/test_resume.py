"""What a second run over a folder does again, what it leaves alone, and what it never destroys."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_infer import __version__
from flare_infer.formats.volume_io import find_images, write_volume
from flare_infer.model.network import UNet
from flare_infer.model.weights import save_model
from flare_infer.runs import bookkeeping
from flare_infer.runs.case_files import find_cases
from flare_infer.runs.case_result import CaseResult, FolderCallbacks
from flare_infer.runs.folder import predict_cases
from flare_infer.runs.report import REPORT_FILE
from flare_infer.segment.segmenter import Segmenter
from flare_infer.volume.volume import Volume
from tests.tiny import tiny_spec


@pytest.fixture
def inputs(tmp_path: Path, scan: Volume) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    write_volume(folder / "a_0000.nii.gz", scan)
    write_volume(folder / "b_0000.nii.gz", replace(scan, array_zyx=scan.array_zyx[:, ::-1].copy()))
    return folder


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    made = tmp_path / "outputs"
    made.mkdir()
    return made


class Runs:
    """Runs over one folder; what the last one told."""

    def __init__(self, inputs: Path, outputs: Path, weights: Path) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.segmenter = Segmenter.load(weights)
        self.notices: list[str] = []

    def __call__(self, **options: bool) -> dict[str, CaseResult]:
        self.notices.clear()
        callbacks = FolderCallbacks(notice=lambda name, line, routine: None if routine else self.notices.append(line))
        cases, refused, *_ = find_cases(self.inputs)
        results = predict_cases(self.segmenter, cases, self.outputs, callbacks, refused=refused, **options)
        return {result.name: result for result in results}

    def status(self) -> dict[str, str]:
        return {name: case["status"] for name, case in self.cases().items()}

    def cases(self) -> dict[str, dict[str, str]]:
        return {case["name"]: case for case in json.loads((self.outputs / REPORT_FILE).read_text())["cases"]}


@pytest.fixture
def runs(inputs: Path, outputs: Path, tiny_weights: Path) -> Runs:
    made = Runs(inputs, outputs, tiny_weights)
    assert [result.done_before for result in made().values()] == [False, False]
    return made


def test_what_is_done_is_left_alone(runs: Runs) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in runs.outputs.glob("*.nii.gz")}
    results = runs()
    assert all(result.done_before and result.output for result in results.values())
    assert runs.notices == []
    assert runs.status() == {"a": "done before", "b": "done before"}
    assert {path.name: path.stat().st_mtime_ns for path in runs.outputs.glob("*.nii.gz")} == before


def test_the_report_holds_the_hashes_of_the_files(runs: Runs, tiny_weights: Path) -> None:
    case = runs.cases()["a"]
    for file, name in (
        (runs.inputs / "a_0000.nii.gz", "input_sha256"),
        (runs.outputs / "a.nii.gz", "output_sha256"),
        (tiny_weights / "model.safetensors", "weights_sha256"),
    ):
        assert case[name] == hashlib.sha256(file.read_bytes()).hexdigest()


def other_scan(runs: Runs, scan: Volume) -> None:
    write_volume(runs.inputs / "a_0000.nii.gz", replace(scan, array_zyx=scan.array_zyx[::-1].copy()))
    (runs.inputs / "b_0000.nii.gz").touch()  # a new time is no other scan


def test_another_scan_of_the_same_name_is_segmented(runs: Runs, scan: Volume) -> None:
    old = (runs.outputs / "a.nii.gz").read_bytes()
    other_scan(runs, scan)
    assert [result.done_before for result in runs().values()] == [False, True]
    assert runs.notices == ["a.nii.gz is of another scan; segmented again"]
    assert (runs.outputs / "a.nii.gz").read_bytes() != old
    assert not (runs.outputs / "a.nii.gz.old").exists()  # it was ours: nothing of anyone's is lost


def other_weights(runs: Runs) -> None:
    torch.manual_seed(1)
    folder = runs.outputs.with_name("other")
    save_model(folder, tiny_spec(), UNet(tiny_spec().network, tiny_spec().classes))
    runs.segmenter = Segmenter.load(folder)


def no_skipping(runs: Runs) -> None:
    runs.segmenter = replace(runs.segmenter, skipping=False)


def other_precision(runs: Runs) -> None:
    runs.segmenter = replace(runs.segmenter, compute=replace(runs.segmenter.compute, precision="bf16"))


def other_spec(runs: Runs) -> None:
    runs.segmenter = replace(runs.segmenter, spec=replace(runs.segmenter.spec, window_step=0.5))


@pytest.mark.parametrize(
    ("change", "said"),
    [(other_weights, "weights"), (no_skipping, "options"), (other_precision, "options"), (other_spec, "options")],
)
def test_what_changes_labels_has_all_segmented_again(runs: Runs, change: Callable[[Runs], None], said: str) -> None:
    change(runs)
    assert [result.done_before for result in runs().values()] == [False, False]
    assert runs.notices == [f"{name}.nii.gz is of other {said}; segmented again" for name in "ab"]
    assert all(result.done_before for result in runs().values())


def test_another_version_of_the_program_segments_again(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flare_infer.runs.identity.__version__", f"{__version__}.1")
    assert [result.done_before for result in runs().values()] == [False, False]


def test_again_means_again(runs: Runs) -> None:
    assert [result.done_before for result in runs(again=True).values()] == [False, False]
    assert runs.notices == [f"{name}.nii.gz is of an earlier run; segmented again" for name in "ab"]


def test_a_model_that_came_from_no_file_is_never_known_again(runs: Runs) -> None:
    runs.segmenter = replace(runs.segmenter, weights_sha256="")
    runs()
    assert [result.done_before for result in runs().values()] == [False, False]


@pytest.mark.parametrize("reported", [True, False])
def test_a_label_map_that_is_not_ours_is_replaced_and_kept(runs: Runs, reported: bool) -> None:
    right = (runs.outputs / "a.nii.gz").read_bytes()
    (runs.outputs / "a.nii.gz").write_bytes(b"corrected by hand")
    if not reported:
        (runs.outputs / REPORT_FILE).unlink()
    results = runs()
    assert not results["a"].done_before
    assert (runs.outputs / "a.nii.gz").read_bytes() == right
    assert (runs.outputs / "a.nii.gz.old").read_bytes() == b"corrected by hand"
    assert "the a.nii.gz that was there is kept as a.nii.gz.old" in runs.notices
    (runs.outputs / "a.nii.gz").write_bytes(b"and again")
    runs()
    assert (runs.outputs / "a.nii.gz.old").read_bytes() == b"corrected by hand"
    assert (runs.outputs / "a.nii.gz.old-2").read_bytes() == b"and again"


def test_a_label_map_that_no_report_knows_is_kept_only_if_it_differs(runs: Runs) -> None:
    """As after a disk on which the last room went to a label map, and none was left to record it."""
    right = (runs.outputs / "a.nii.gz").read_bytes()
    (runs.outputs / REPORT_FILE).unlink()
    results = runs()
    assert not results["a"].done_before
    assert "a.nii.gz is in no report, or was changed since; segmented again" in runs.notices
    assert (runs.outputs / "a.nii.gz").read_bytes() == right
    assert list(runs.outputs.glob("*.old*")) == []
    assert runs()["a"].done_before


def test_who_reads_the_folder_finds_label_maps_only(runs: Runs) -> None:
    (runs.outputs / "a.nii.gz").write_bytes(b"corrected by hand")
    runs()
    assert list(find_images(runs.outputs)) == ["a", "b"]


def test_after_a_failure_no_label_map_of_another_scan_stays(runs: Runs) -> None:
    (runs.inputs / "a_0000.nii.gz").write_bytes(b"no image")
    results = runs()
    assert results["a"].output is None
    assert "(an earlier label map is now a.nii.gz.old)" in results["a"].reason
    assert not (runs.outputs / "a.nii.gz").exists()
    assert runs.status() == {"a": "failed", "b": "done before"}
    assert runs.cases()["a"]["output_sha256"] == ""


def test_a_scan_that_cannot_be_read_leaves_its_label_map_alone(runs: Runs) -> None:
    image, away = runs.inputs / "a_0000.nii.gz", runs.inputs / "away"
    image.rename(away)
    image.symlink_to(runs.inputs / "nowhere")
    assert runs()["a"].output is None
    assert (runs.outputs / "a.nii.gz").exists()
    away.replace(image)
    assert runs()["a"].done_before


def test_a_scan_that_changes_while_it_is_read_does_not_count_as_done(
    runs: Runs, scan: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = iter(range(100))
    monkeypatch.setattr(bookkeeping, "stamp_of", lambda path: (next(stamps), 0, 0))
    runs(again=True)
    assert any("was changed while it was read" in line for line in runs.notices)
    assert runs.cases()["a"]["input_sha256"] == ""
    monkeypatch.undo()
    assert [result.done_before for result in runs().values()] == [False, False]


def test_refused_cases_are_told_and_in_the_report(runs: Runs, scan: Volume) -> None:
    write_volume(runs.inputs / "b.mha", scan)
    results = runs()
    assert results["b"].output is None
    assert runs.cases()["b"]["status"] == "failed"
    assert "are one case, b" in runs.cases()["b"]["reason"]


def test_notices_and_costs_are_in_the_report(runs: Runs, scan: Volume) -> None:
    shifted = replace(scan, array_zyx=np.abs(scan.array_zyx) + np.int16(1000))
    write_volume(runs.inputs / "a_0000.nii.gz", shifted)
    runs()
    case = runs.cases()["a"]
    assert any("no Hounsfield units" in line for line in case["notices"])
    assert case["windows"] >= case["windows_ran"] > 0
    assert float(case["peak_memory_mib"]) > 1
    assert float(case["seconds"]) >= float(case["segment_seconds"]) > 0
    assert case["plan"].startswith("cpu, fp32 by torch")
