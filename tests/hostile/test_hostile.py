"""Every kind of input through the real command: a correct label map, one clear line, or silence."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flare_infer.formats.volume_io import write_volume
from flare_infer.volume.volume import Placement, Volume
from tests.hostile.corpus import KINDS
from tests.hostile.document import DOCUMENT, document
from tests.hostile.kind import Kind, Truth, pattern
from tests.hostile.names import FORBIDDEN
from tests.hostile.nifti_file import nifti
from tests.hostile.run import GOOD, Run, findings, label_map_findings, run_corpus
from tests.tiny import LPS

MOST_BYTES = 2**30
"""Python, PyTorch and the largest honest scan take half of it."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("hostile")
    yield run_corpus(folder, KINDS)
    (folder / "inputs" / FORBIDDEN).chmod(0o600)


@pytest.mark.parametrize("kind", [*KINDS, GOOD], ids=lambda kind: kind.name)
def test_what_becomes_of(run: Run, kind: Kind) -> None:
    if kind.file == FORBIDDEN and not run.forbids:
        pytest.skip("this user may read what nobody may read")
    assert findings(run, kind) == []


def test_there_is_a_line_for_every_case_and_no_other(run: Run) -> None:
    cases = [kind for kind in (*KINDS, GOOD) if kind.outcome != "passed over"]
    notices = [kind for kind in cases if kind.outcome == "segmented" and kind.words]
    refused = [kind for kind in cases if kind.outcome == "refused" and (kind.file != FORBIDDEN or run.forbids)]
    left_out = {kind.words for kind in KINDS if kind.outcome == "passed over" and kind.words}
    assert len(left_out) == 1
    assert len(run.lines) == len(cases) + len(notices) + len(left_out) + 1
    assert f"error: {len(refused)} of {len(cases)} cases failed, the others are in {run.outputs}" in run.lines
    assert run.code == 1
    assert not any("Traceback" in line or "unexpected" in line for line in run.lines)


def test_the_readme_counts_them() -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"[{len(KINDS)} kinds of input" in readme


def test_every_refusal_says_what_to_do(run: Run) -> None:
    refusals = [line for line in run.lines if line.startswith("error: ")][:-1]
    assert [line for line in refusals if "; " not in line] == []


def test_nothing_but_label_maps_and_the_report_is_written(run: Run) -> None:
    segmented = sum(kind.outcome == "segmented" for kind in (*KINDS, GOOD)) + (not run.forbids)
    assert len(os.listdir(run.outputs)) == segmented + len(("report.json", "report.csv"))


def test_what_headers_promise_takes_no_memory(run: Run) -> None:
    assert run.peak_bytes < MOST_BYTES


def test_the_corpus_is_large_and_names_no_kind_twice() -> None:
    assert len({kind.file for kind in KINDS}) == len({kind.sentence for kind in KINDS}) == len(KINDS) >= 60


def test_the_document_is_what_the_corpus_says() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run: python -m tests.hostile --write"


def placed(bright_zyx: np.ndarray, **changes: object) -> Volume:
    fields = {"spacing_mm": (3.0, 2.0, 1.5), "origin_mm": (-30.0, 20.0, -700.0), "axes": LPS} | changes
    return Volume(array_zyx=bright_zyx.astype(np.uint8), placement=Placement(**fields))  # type: ignore[arg-type]


def test_the_judge_sees_wrong_labels_and_wrong_places(tmp_path: Path) -> None:
    scan, output, truth = tmp_path / "in" / "scan.nii.gz", tmp_path / "labels.nii.gz", Truth(bright_zyx=pattern())
    scan.parent.mkdir()
    nifti()(scan)
    write_volume(output, placed(pattern()))
    assert label_map_findings(scan, output, truth) == []
    flipped = (LPS[0], LPS[1], (-1.0, 0.0, 0.0))
    wrong = {
        "1 of 1001 labels are wrong": placed(pattern() ^ (np.arange(1001).reshape(7, 13, 11) == 500)),
        "direction: ": placed(pattern(), axes=flipped),
        "spacing: ": placed(pattern(), spacing_mm=(3.0, 2.0, 1.6)),
        "origin: ": placed(pattern(), origin_mm=(-30.0, 20.0, -701.0)),
        "size: ": placed(pattern()[:, :, 1:]),
    }
    for says, volume in wrong.items():
        write_volume(output, volume)
        assert says in label_map_findings(scan, output, truth)[0]
