"""What is written beside label maps: when it is done again, when it is removed, and what a failure costs."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from flare_infer.errors import ImageError
from flare_infer.files.write_whole import write_whole
from flare_infer.formats.volume_io import find_images, read_volume, write_volume
from flare_infer.runs.case_result import CaseResult, FolderCallbacks
from flare_infer.runs.folder import predict_cases
from flare_infer.runs.further import Beside, FurtherOutput, Measured, OutputForms
from flare_infer.runs.report import REPORT_FILE
from flare_infer.runs.scan import with_scan_aside
from flare_infer.segment.segmenter import Segmenter
from flare_infer.volume.volume import Volume


def _note(path: Path, measured: Measured) -> None:
    case = measured.case
    assert case.source is None
    write_whole(path, f"{case.name} {int(case.labels.array_zyx.sum())} {int(case.scan.array_zyx.sum())}")


def _folder(path: Path, measured: Measured) -> None:
    path.mkdir(exist_ok=True)
    (path / "one").write_text(measured.case.name)


NOTE = FurtherOutput(ending=".note.txt", write=_note)
FOLDER = FurtherOutput(ending=".parts", write=_folder)
OF_SERIES = FurtherOutput(ending=".seg.dcm", write=_note, of_series=True)


class Runs:
    """Runs over one folder of a scan `a`; what the last one told."""

    def __init__(self, tmp_path: Path, scan: Volume, weights: Path) -> None:
        self.inputs, self.outputs = tmp_path / "inputs", tmp_path / "outputs"
        self.inputs.mkdir()
        self.outputs.mkdir()
        self.scan = scan
        write_volume(self.inputs / "a_0000.nii.gz", scan)
        self.segmenter = Segmenter.load(weights)
        self.notices: list[str] = []
        self.trouble: list[str] = []

    def __call__(self, *further: FurtherOutput, **rest: object) -> CaseResult:
        self.notices.clear()
        callbacks = FolderCallbacks(
            notice=lambda name, line, routine: None if routine else self.notices.append(line),
            trouble=self.trouble.append,
        )
        forms = OutputForms(further=further, **rest)  # type: ignore[arg-type]
        return predict_cases(self.segmenter, find_images(self.inputs), self.outputs, callbacks, forms=forms)[0]

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.outputs.iterdir()} - {REPORT_FILE, "report.csv", ".flare-infer.lock"}

    def record(self) -> dict[str, dict[str, list[str]]]:
        found: dict[str, dict[str, list[str]]] = json.loads((self.outputs / REPORT_FILE).read_text())["cases"][0]
        return found


@pytest.fixture
def runs(tmp_path: Path, scan: Volume, tiny_weights: Path) -> Runs:
    return Runs(tmp_path, scan, tiny_weights)


def test_what_is_written_is_made_of_scan_and_labels_and_is_recorded(runs: Runs) -> None:
    result = runs(NOTE, FOLDER, OF_SERIES)
    assert result.lacking == ()
    assert runs.names == {"a.nii.gz", "a.note.txt", "a.parts"}
    found = read_volume(runs.outputs / "a.nii.gz").array_zyx
    assert (runs.outputs / "a.note.txt").read_text() == f"a {int(found.sum())} {int(runs.scan.array_zyx.sum())}"
    assert set(runs.record()["further"]) == {"a.note.txt", "a.parts"}


def test_what_is_there_is_not_written_again(runs: Runs) -> None:
    runs(NOTE, FOLDER)
    assert runs(NOTE, FOLDER).done_before
    assert runs().done_before
    assert runs(NOTE, FOLDER).done_before  # a run that wanted less forgot nothing
    assert runs.names == {"a.nii.gz", "a.note.txt", "a.parts"}


@pytest.mark.parametrize("name", ["a.note.txt", "a.parts/one"])
@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_what_is_missing_or_was_changed_is_written_again(runs: Runs, name: str, damage: str) -> None:
    runs(NOTE, FOLDER)
    path, before = runs.outputs / name, (runs.outputs / name).read_text()
    path.unlink() if damage == "missing" else path.write_text("something else")
    assert not runs(NOTE, FOLDER).done_before
    assert path.read_text() == before
    output = name.partition("/")[0]
    # A folder that lacks a file is there, but is no longer what was written.
    said = "is not there" if damage == "missing" and output == name else "was changed since it was written"
    assert any(f"{output} {said}; segmented again" in line for line in runs.notices)


def test_other_options_write_again(runs: Runs) -> None:
    runs(NOTE)
    assert not runs(replace(NOTE, options="liver")).done_before
    assert any("a.note.txt is of other options" in line for line in runs.notices)
    assert runs(replace(NOTE, options="liver")).done_before


def test_another_form_keeps_those_that_are_there(runs: Runs) -> None:
    runs(NOTE)
    assert not runs(FOLDER).done_before
    assert runs.names == {"a.nii.gz", "a.note.txt", "a.parts"}
    assert runs(NOTE, FOLDER).done_before


def _exchange(runs: Runs) -> None:
    write_volume(runs.inputs / "a_0000.nii.gz", replace(runs.scan, array_zyx=runs.scan.array_zyx[:, ::-1].copy()))


def test_what_belongs_to_an_earlier_label_map_is_removed(runs: Runs) -> None:
    runs(NOTE, FOLDER)
    _exchange(runs)
    assert not runs().done_before
    assert runs.names == {"a.nii.gz"}
    assert runs.record()["further"] == {}


def test_what_somebody_changed_is_not_removed(runs: Runs) -> None:
    runs(NOTE)
    (runs.outputs / "a.note.txt").write_text("mine")
    _exchange(runs)
    runs()
    assert (runs.outputs / "a.note.txt").read_text() == "mine"
    assert any("a.note.txt was changed" in line for line in runs.notices)


def test_nothing_stays_beside_a_case_that_now_fails(runs: Runs) -> None:
    runs(NOTE, FOLDER)
    (runs.inputs / "a_0000.nii.gz").write_bytes(b"no image")
    assert runs(NOTE, FOLDER).output is None
    assert runs.names == {"a.nii.gz.old"}


def test_what_is_not_ours_makes_room_and_is_kept(runs: Runs) -> None:
    (runs.outputs / "a.note.txt").write_text("of somebody")
    (runs.outputs / "a.parts").mkdir()
    (runs.outputs / "a.parts" / "two").write_text("of somebody")
    runs(NOTE, FOLDER)
    assert (runs.outputs / "a.note.txt.old").read_text() == "of somebody"
    assert (runs.outputs / "a.parts.old" / "two").read_text() == "of somebody"
    assert sorted(path.name for path in (runs.outputs / "a.parts").iterdir()) == ["one"]
    assert "the a.note.txt that was there is kept as a.note.txt.old" in runs.notices
    (runs.outputs / "a.note.txt").write_text("edited")
    runs(NOTE, FOLDER)
    assert (runs.outputs / "a.note.txt.old-2").read_text() == "edited"
    assert not (runs.outputs / "a.parts.old-2").exists()


def _refuses(path: Path, measured: Measured) -> None:
    raise ImageError("no contour of that kind")


def _is_full(path: Path, measured: Measured) -> None:
    raise OSError(28, "No space left on device")


def _breaks(path: Path, measured: Measured) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("write", "said"),
    [(_refuses, "no contour"), (_is_full, "No space left"), (_breaks, "unexpected ZeroDivisionError")],
)
def test_what_cannot_be_written_costs_no_label_map(runs: Runs, write: object, said: str) -> None:
    bad = FurtherOutput(ending=".bad", write=write)  # type: ignore[arg-type]
    result = runs(bad, NOTE)
    assert result.output == runs.outputs / "a.nii.gz"
    assert result.output.exists()
    assert len(result.lacking) == 1
    assert said in result.lacking[0]
    assert said in str(runs.record()["reason"])
    if write is not _breaks:
        assert runs.names == {"a.nii.gz", "a.note.txt"}
    assert not runs(bad, NOTE).done_before
    assert runs(NOTE).output is not None


def test_the_folder_is_summed_up_with_the_reasons_of_failed_cases(runs: Runs) -> None:
    (runs.inputs / "b_0000.nii.gz").write_bytes(b"no image")
    told: dict[str, str] = {}

    def sum_up(outputs: Path, beside: Beside, failed: Mapping[str, str]) -> None:
        assert (outputs / "a.note.txt").exists()
        assert beside == {"a": ("a.note.txt",)}
        told.update(failed)

    runs(NOTE, folder=sum_up)
    assert set(told) == {"b"}
    assert "b_0000.nii.gz" in told["b"]


def test_a_summary_that_cannot_be_written_is_told(runs: Runs) -> None:
    def sum_up(outputs: Path, beside: Beside, failed: Mapping[str, str]) -> None:
        raise OSError(28, "No space left on device")

    assert runs(NOTE, folder=sum_up).output is not None
    assert len(runs.trouble) == 1
    assert "No space left" in runs.trouble[0]


def test_a_scan_is_kept_only_if_something_needs_it(runs: Runs) -> None:
    assert runs.segmenter.prepare(runs.scan).scan is None
    assert runs.segmenter.prepare(runs.scan, keep=True).scan is runs.scan


def test_a_kept_scan_lies_on_the_disk_and_leaves_nothing_there(runs: Runs) -> None:
    turned = replace(runs.scan, array_zyx=runs.scan.array_zyx[::-1])
    aside = with_scan_aside(runs.segmenter.prepare(turned, keep=True), runs.outputs)
    assert aside.scan is not None
    assert isinstance(aside.scan.array_zyx.base, np.memmap)
    assert aside.scan_bytes == 0
    np.testing.assert_array_equal(aside.scan.array_zyx, turned.array_zyx)
    assert aside.scan.placement == turned.placement
    assert list(runs.outputs.iterdir()) == []


def test_where_nothing_can_be_written_a_kept_scan_stays_in_memory(runs: Runs, tmp_path: Path) -> None:
    kept = runs.segmenter.prepare(runs.scan, keep=True)
    assert with_scan_aside(kept, tmp_path / "missing") is kept
    assert kept.scan_bytes == runs.scan.array_zyx.nbytes


def test_outputs_are_made_at_the_same_time_and_recorded_in_order(runs: Runs) -> None:
    meet = Barrier(2, timeout=60)

    def written(name: str) -> FurtherOutput:
        def write(path: Path, measured: Measured) -> None:
            meet.wait()
            path.write_text(name)

        return FurtherOutput(ending=f".{name}", write=write)

    assert runs(written("b"), written("a")).lacking == ()
    assert list(runs.record()["further"]) == ["a.b", "a.a"]
