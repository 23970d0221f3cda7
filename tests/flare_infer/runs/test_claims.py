"""Claims on cases: one owner at a time, however processes die and whatever their clocks say."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from flare_infer.cluster.parts import part_of
from flare_infer.errors import UsageError
from flare_infer.runs.claims import CLAIMS_FOLDER, Claims, refuse_if_shared

SHORT = 0.6


def claims(outputs: Path, stale_seconds: float = 60.0) -> Claims:
    made = Claims(outputs, stale_seconds)
    (outputs / CLAIMS_FOLDER).mkdir(exist_ok=True)
    return made


def test_a_case_has_one_owner(tmp_path: Path) -> None:
    one, other = claims(tmp_path), claims(tmp_path)
    assert one.take("a") == 1
    assert other.take("a") == 0
    assert one.holds("a")
    assert not other.holds("a")
    assert other.take("b") == 1


def test_of_two_that_look_at_the_same_moment_one_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Claims(tmp_path) as one, Claims(tmp_path) as two:
        monkeypatch.setattr(two, "_of", lambda name: iter(()))  # it looked before the other one wrote its claim
        assert (one.take("a"), two.take("a")) == (1, 0)
        assert one.holds("a")


def test_a_case_that_ended_may_be_claimed_anew(tmp_path: Path) -> None:
    one, other = claims(tmp_path), claims(tmp_path)
    one.take("a")
    one.drop("a")
    assert other.take("a") == 1


def _aged(outputs: Path, seconds: float) -> None:
    for path in (outputs / CLAIMS_FOLDER).glob("*.[0-9]*"):
        found = path.stat()
        os.utime(path, (found.st_atime, found.st_mtime - seconds))


def test_a_claim_that_is_not_renewed_is_taken_over_once(tmp_path: Path) -> None:
    dead, one, other = claims(tmp_path), claims(tmp_path), claims(tmp_path)
    dead.take("a")
    _aged(tmp_path, 61)
    assert one.take("a") == 2
    assert other.take("a") == 0
    assert not dead.holds("a")
    assert one.holds("a")


def test_an_owner_that_wakes_up_takes_nothing_away(tmp_path: Path) -> None:
    asleep, awake, third = claims(tmp_path), claims(tmp_path), claims(tmp_path)
    asleep.take("a")
    _aged(tmp_path, 61)
    awake.take("a")
    asleep.drop("a", failed=True)
    assert awake.holds("a")
    assert not third.has_failed("a")
    assert third.take("a") == 0


def test_how_often_a_case_was_started_survives_an_interruption(tmp_path: Path) -> None:
    dead, one, other = claims(tmp_path), claims(tmp_path), claims(tmp_path)
    dead.take("a")
    _aged(tmp_path, 61)
    assert one.take("a") == 2
    one.drop("a", interrupted=True)
    assert other.take("a") == 2
    other.drop("a")
    assert one.take("a") == 1


def test_a_renewed_claim_stays(tmp_path: Path) -> None:
    with Claims(tmp_path, SHORT) as one:
        one.take("a")
        time.sleep(3 * SHORT)
        assert claims(tmp_path, SHORT).take("a") == 0


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_clock_of_a_machine_does_no_harm(tmp_path: Path, hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = claims(tmp_path)
    ours.take("a")
    monkeypatch.setattr(time, "time", lambda: time.monotonic() + 3600 * hours)
    other = claims(tmp_path)
    assert other.take("a") == 0
    assert other.now() == pytest.approx((tmp_path / CLAIMS_FOLDER).stat().st_mtime, abs=5)


def test_what_failed_is_known_until_the_last_process_is_gone(tmp_path: Path) -> None:
    with Claims(tmp_path) as one:
        one.take("a")
        one.drop("a", failed=True)
        with Claims(tmp_path) as other:
            assert other.has_failed("a")
    with Claims(tmp_path) as next_run:
        assert not next_run.has_failed("a")


def test_a_run_alone_is_refused_beside_others(tmp_path: Path) -> None:
    refuse_if_shared(tmp_path)
    with Claims(tmp_path), pytest.raises(UsageError, match="share the work"):
        refuse_if_shared(tmp_path)
    refuse_if_shared(tmp_path)


_WORKER = """
import random, sys, time
from pathlib import Path
from flare_infer.runs.claims import Claims

outputs, cases, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
with Claims(outputs, seconds) as claims:
    while left := [case for case in range(cases) if not (outputs / f"{case}.done").exists()]:
        for case in left:
            if not claims.take(str(case)):
                continue
            done = outputs / f"{case}.done"
            if not done.exists():
                time.sleep(random.uniform(0, 0.02))
                if claims.holds(str(case)):
                    with open(outputs / "log", "a") as log:
                        log.write(f"{case}\\n")
                    done.touch()
            claims.drop(str(case))
        time.sleep(0.05)
"""


@pytest.mark.slow
def test_eight_processes_that_are_killed_a_hundred_times_do_every_case_once(tmp_path: Path) -> None:
    cases, draw = 300, random.Random(0)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", _WORKER, str(tmp_path), str(cases), "10"])

    workers = [start() for _ in range(8)]
    try:
        for _ in range(100):
            time.sleep(draw.uniform(0, 0.1))
            index = draw.randrange(len(workers))
            workers[index].send_signal(signal.SIGKILL)
            workers[index].wait()
            workers[index] = start()
        assert [worker.wait(300) for worker in workers] == [0] * len(workers)
    finally:
        for worker in workers:
            worker.kill()
    done = Counter(int(line) for line in (tmp_path / "log").read_text().split())
    assert set(done) == set(range(cases))
    # Who is killed between the line and the file has done the case, and another process does it once more.
    assert sum(done.values()) <= cases + 3


def test_parts_hold_every_case_once_and_are_about_equal(tmp_path: Path) -> None:
    cases = {}
    for number in range(20):
        path = tmp_path / f"{number}.nii.gz"
        path.write_bytes(b"0" * 2**number)
        cases[str(number)] = path
    parts = [part_of(cases, f"{number}/3") for number in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == sorted(cases)
    assert next(iter(parts[0])) == "19"
    assert {len(part) for part in parts} == {6, 7}


@pytest.mark.parametrize(
    ("part", "environment", "expected"),
    [
        ("auto", {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "4"}, "3/4"),
        ("auto/4", {"JOB_COMPLETION_INDEX": "0"}, "1/4"),
        ("auto/2", {"SLURM_ARRAY_TASK_ID": "1"}, "2/2"),
    ],
)
def test_a_scheduler_numbers_the_parts(tmp_path: Path, part: str, environment: dict[str, str], expected: str) -> None:
    cases = {str(number): tmp_path / str(number) for number in range(9)}
    assert part_of(cases, part, environment) == part_of(cases, expected)


@pytest.mark.parametrize("part", ["0/3", "4/3", "a/3", "1", "auto", "auto/3", "1/0", "-1/2"])
def test_parts_that_make_no_sense_are_refused(part: str) -> None:
    with pytest.raises(UsageError, match="--part"):
        part_of({}, part, {})
