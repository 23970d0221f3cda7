"""A worker with a real, tiny model, and a run that has one of them in this process."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from flare_infer.cluster.here import OneHere
from flare_infer.cluster.run import predict_with
from flare_infer.cluster.task import Answered, Job, Lost, Task
from flare_infer.cluster.worker import Worker
from flare_infer.formats.volume_io import find_images, write_volume
from flare_infer.runs.case_result import CaseResult, FolderCallbacks, Tally
from flare_infer.runs.folder import predict_cases
from flare_infer.runs.further import LABEL_MAPS
from flare_infer.runs.ready import ModelChoice
from flare_infer.runs.report import CaseRecord, read_report
from flare_infer.segment.segmenter import Segmenter
from flare_infer.shell.interrupt import Interrupted
from flare_infer.volume.volume import Volume

SIGINT = 2


@pytest.fixture
def inputs(tmp_path: Path, scan: Volume) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    for name in "abc":
        write_volume(folder / f"{name}_0000.nii.gz", scan)
    (folder / "bad_0000.nii.gz").write_bytes(b"no image")
    return folder


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


def worker(weights: Path, outputs: Path) -> Worker:
    return Worker(Job(choice=ModelChoice(weights=weights, device="cpu"), forms=LABEL_MAPS, outputs=str(outputs)))


def predicted(crew: OneHere, inputs: Path, outputs: Path) -> dict[str, CaseResult]:
    shown: list[CaseResult] = []
    tally = predict_with(crew, find_images(inputs), outputs, FolderCallbacks(finished=shown.append), forms=LABEL_MAPS)
    assert tally == Tally.of(shown)
    return {result.name: result for result in shown}


def test_a_worker_does_what_a_run_on_one_machine_does_and_each_knows_the_others_work(
    inputs: Path, outputs: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    predict_cases(Segmenter.load(tiny_weights), find_images(inputs), alone)
    with OneHere(worker(tiny_weights, outputs)) as crew:
        results = predicted(crew, inputs, outputs)
        again = predicted(crew, inputs, outputs)
    assert [name for name, result in results.items() if result.output is None] == ["bad"]
    for name in "abc":
        assert (outputs / f"{name}.nii.gz").read_bytes() == (alone / f"{name}.nii.gz").read_bytes()
        assert again[name].done_before
    ours, theirs = read_report(outputs), read_report(alone)
    assert {name: record.label_map for name, record in ours.items()} == {
        name: record.label_map for name, record in theirs.items()
    }
    assert ours["bad"].reason == theirs["bad"].reason
    later = predict_cases(Segmenter.load(tiny_weights), find_images(inputs), outputs)
    assert [result.name for result in later if result.done_before] == ["a", "b", "c"]


def test_what_another_worker_wrote_meanwhile_stays(
    inputs: Path, outputs: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = worker(tiny_weights, outputs)
    segment = one._segmenter.segment_prepared

    def slow(*arguments: object) -> object:
        (outputs / "a.nii.gz").write_bytes(b"of another worker")
        return segment(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Segmenter, "segment_prepared", lambda self, *arguments: slow(*arguments))
    source = inputs / "a_0000.nii.gz"
    answer = one.run(Task(name="a", source=source, record=CaseRecord(name="a", image=source.name)))
    assert answer.result.elsewhere
    assert (outputs / "a.nii.gz").read_bytes() == b"of another worker"
    assert not list(outputs.glob("*.old"))


def test_a_signal_ends_a_run_with_what_is_done_in_the_report(inputs: Path, outputs: Path, tiny_weights: Path) -> None:
    class Signalled(OneHere):
        """Gets a signal after its first answer."""

        answers = 0

        def events(self, seconds: float) -> Sequence[Answered | Lost]:
            if self.answers == 1:
                self.answers += 1
                raise Interrupted(SIGINT)
            found = super().events(seconds)
            self.answers += len(found)
            return found

    with Signalled(worker(tiny_weights, outputs), depth=1) as crew, pytest.raises(Interrupted):
        predicted(crew, inputs, outputs)
    records = read_report(outputs)
    written = {path.name[0] for path in outputs.glob("*.nii.gz")}
    assert {name for name, record in records.items() if record.status == "written"} == written
    assert set("abc") - written
    with OneHere(worker(tiny_weights, outputs)) as crew:
        results = predicted(crew, inputs, outputs)
    assert {name for name, result in results.items() if result.done_before} == written
