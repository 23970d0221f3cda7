"""The quick part of `sh scripts/hostile`; the corpus has tests of its own."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flare_infer.runs.report import REPORT_FILE
from tests.hostile import kills, load, world
from tests.hostile.everything import report
from tests.hostile.kills import Ground, make_ground
from tests.hostile.trial import Trial
from tests.hostile.warm import Warm


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Warm(tmp_path_factory.mktemp("said")) as warm:
        yield make_ground(tmp_path_factory.mktemp("ground"), warm, cases=12)


@pytest.fixture(scope="module")
def few(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return make_ground(tmp_path_factory.mktemp("few"), ground.warm, cases=3)


def test_a_failing_world(ground: Ground, tmp_path: Path) -> None:
    trials = list(world.trials(ground, tmp_path / "world"))
    assert [line for trial in trials for line in trial.wrong] == []
    assert len(trials) >= 10


def test_kills_at_random(ground: Ground) -> None:
    trial = kills.at_random(ground, kills=5, seed=0)
    assert trial.wrong == ()
    assert int(trial.happened.split()[0]) >= 5


def test_kills_before_some_file_operations(few: Ground) -> None:
    trial = kills.at_every_file_operation(few, step=25)
    assert trial.wrong == ()
    assert int(trial.happened.split()[0]) >= 3


def test_load(tmp_path: Path) -> None:
    assert load.many_cases(tmp_path, 40).wrong == ()


def half(outputs: Path) -> None:
    output = next(outputs.glob("*.nii.gz"))
    output.write_bytes(output.read_bytes()[:-1])


def no_record(outputs: Path) -> None:
    path = outputs / REPORT_FILE
    path.write_text(path.read_text(encoding="utf-8").replace('"name": "case0000"', '"name": "another"'))


def leftover(outputs: Path) -> None:
    (outputs / ".writing-it.nii").touch()


@pytest.mark.parametrize("spoil", [half, no_record, leftover])
def test_the_judge_sees(few: Ground, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]) -> None:
    run = few.warm.run

    def run_and_spoil(*arguments: object, **hazards: object) -> object:
        ended = run(*arguments, **hazards)
        if ended.code == 0:
            spoil(Path(str(arguments[2])))
        return ended

    monkeypatch.setattr(few.warm, "run", run_and_spoil)
    assert kills.at_every_file_operation(few, step=10**6).wrong != ()


def test_the_table_shows_what_went_wrong() -> None:
    good = Trial(area="kills", tried="this", happened="nothing")
    table = report([good, replace(good, tried="that", wrong=("half a file",))], "2 trials")
    assert "| kills | this | nothing | 0 |\n| kills | that | nothing | 1 |" in table
    assert "- that: half a file" in table
