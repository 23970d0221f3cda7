"""What is known about a folder of outputs, over runs and kills."""

import csv
import errno
import hashlib
import json
import os
import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from flare_infer.files.write_whole import PART_PREFIX
from flare_infer.runs import ledger as ledger_module
from flare_infer.runs.ledger import LEDGER_FILE, Ledger
from flare_infer.runs.report import REPORT_FILE, TABLE_FILE, CaseRecord, LabelMap, read_report, write_run_report
from flare_infer.shell.interrupt import Interrupted

IMAGES = {name: f"{name}_0000.nii.gz" for name in ("a", "b")}


class Said(list[str]):
    """Lines of trouble."""


@pytest.fixture
def said() -> Said:
    return Said()


def ledger(outputs: Path, said: Said) -> Ledger:
    return Ledger(outputs, {"model": "tiny"}, IMAGES, said.append)


def label_map(output: Path, content: bytes, **changes: str) -> LabelMap:
    output.write_bytes(content)
    hashes = {"input_sha256": "scan", "weights_sha256": "weights", "options_sha256": "options"}
    return LabelMap(output_sha256=hashlib.sha256(content).hexdigest(), **hashes | changes)


def cases(outputs: Path) -> dict[str, dict[str, object]]:
    return {case["name"]: case for case in json.loads((outputs / REPORT_FILE).read_text())["cases"]}


def killed(outputs: Path, said: Said) -> Ledger:
    """A ledger whose program was killed while it is open: its end is never run."""
    return ledger(outputs, said).__enter__()


def test_json_and_csv_name_every_case_with_what_it_came_to(tmp_path: Path, said: Said) -> None:
    with ledger(tmp_path, said) as books:
        books.started("a")
        books.written("a", label_map(tmp_path / "a.nii.gz", b"labels"))
        books.ended(replace(books.record("a"), status="written", windows=3, seconds=0.5))
        books.started("b")
        books.ended(replace(books.record("b"), status="failed", reason="no, no image"))
    found = cases(tmp_path)
    assert (found["a"]["status"], found["a"]["windows"], found["a"]["input_sha256"]) == ("written", 3, "scan")
    assert (found["b"]["status"], found["b"]["reason"], found["b"]["image"]) == (
        "failed",
        "no, no image",
        "b_0000.nii.gz",
    )
    with (tmp_path / TABLE_FILE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["status"], row["reason"]) for row in rows] == [
        ("a", "written", ""),
        ("b", "failed", "no, no image"),
    ]
    run = json.loads((tmp_path / REPORT_FILE).read_text())["run"]
    assert (run["model"], run["state"]) == ("tiny", "complete")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", TABLE_FILE, REPORT_FILE]
    assert said == []


def test_while_a_run_goes_on_the_report_names_what_waits(tmp_path: Path, said: Said) -> None:
    killed(tmp_path, said)
    assert {name: case["status"] for name, case in cases(tmp_path).items()} == {"a": "waiting", "b": "waiting"}


def test_a_case_that_was_started_and_never_ended_is_known_and_counted(tmp_path: Path, said: Said) -> None:
    for times in range(3):
        books = killed(tmp_path, said)
        assert books.never_ended == ({"a": times} if times else {})
        books.started("a")
    with ledger(tmp_path, said):
        pass
    assert cases(tmp_path)["a"]["status"] == "started"
    with ledger(tmp_path, said) as books:
        assert books.never_ended == {"a": 3}
        books.started("a")
        books.ended(replace(books.record("a"), status="written"))
    assert ledger(tmp_path, said).never_ended == {}


def test_a_label_map_is_known_before_its_run_is_over_and_after_a_kill(tmp_path: Path, said: Said) -> None:
    output = tmp_path / "a.nii.gz"
    books = killed(tmp_path, said)
    books.started("a")
    made = label_map(output, b"labels")
    assert books.known("a", output) is None
    books.written("a", made)
    assert ledger(tmp_path, said).known("a", output) == made
    output.write_bytes(b"label5")
    assert ledger(tmp_path, said).known("a", output) is None


def test_until_the_new_label_map_has_its_name_the_old_one_is_known_too(tmp_path: Path, said: Said) -> None:
    output = tmp_path / "a.nii.gz"
    with ledger(tmp_path, said) as books:
        books.started("a")
        new = label_map(output, b"new", options_sha256="others")
        old = label_map(output, b"old")
        books.written("a", old)
    books = killed(tmp_path, said)
    books.started("a")
    books.written("a", new)
    assert ledger(tmp_path, said).known("a", output) == old
    output.write_bytes(b"new")
    assert ledger(tmp_path, said).known("a", output) == new


def test_a_line_that_was_cut_short_costs_only_itself(tmp_path: Path, said: Said) -> None:
    books = killed(tmp_path, said)
    books.started("a")
    journal = tmp_path / LEDGER_FILE
    journal.write_bytes(journal.read_bytes() + b'\n{"name": "b", "sta')
    killed(tmp_path, said).started("b")
    assert ledger(tmp_path, said).never_ended == {"a": 1, "b": 1}


def test_a_signal_leaves_interrupted_and_waiting_cases(tmp_path: Path, said: Said) -> None:
    def stopped() -> None:
        with ledger(tmp_path, said) as books:
            books.started("a")
            raise Interrupted(15)

    with pytest.raises(Interrupted):
        stopped()
    found = cases(tmp_path)
    assert (found["a"]["status"], found["a"]["reason"], found["a"]["starts"]) == (
        "interrupted",
        "stopped by SIGTERM",
        0,
    )
    assert found["b"]["status"] == "waiting"
    assert json.loads((tmp_path / REPORT_FILE).read_text())["run"]["state"] == "interrupted"
    assert ledger(tmp_path, said).never_ended == {}


def test_cases_of_earlier_runs_stay_in_the_report(tmp_path: Path, said: Said) -> None:
    with Ledger(tmp_path, {}, {"earlier": "earlier.mha"}, said.append) as books:
        books.started("earlier")
        books.written("earlier", label_map(tmp_path / "earlier.nii.gz", b"labels"))
        books.ended(replace(books.record("earlier"), status="written"))
    with ledger(tmp_path, said) as books:
        assert books.known("earlier", tmp_path / "earlier.nii.gz") is not None
    assert cases(tmp_path)["earlier"]["status"] == "written"


def test_what_a_label_map_cost_is_kept_when_it_is_done_before(tmp_path: Path, said: Said) -> None:
    made = label_map(tmp_path / "a.nii.gz", b"labels")
    with ledger(tmp_path, said) as books:
        books.started("a")
        books.written("a", made)
        books.ended(replace(books.record("a"), status="written", seconds=7.0))
    with ledger(tmp_path, said) as books:
        books.done_before("a", made)
    assert (cases(tmp_path)["a"]["status"], cases(tmp_path)["a"]["seconds"]) == ("done before", 7.0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no JSON",
        b"[" * 100_000,
        b"[]",
        b"\xff\xfe",
        b'{"format": "flare-infer report 2", "cases": []}',
        b'{"format": "flare-infer report 1"}',
        b'{"format": "flare-infer report 1", "cases": [{"status": "written"}]}',
        b'{"format": "flare-infer report 1", "cases": [{"name": "a", "status": "perfect"}]}',
        b'{"format": "flare-infer report 1", "cases": [{"name": "a", "status": ["written"]}]}',
        b'{"format": "flare-infer report 1", "cases": [{"name": "a", "starts": "many"}]}',
    ],
)
def test_a_report_that_is_none_is_kept_aside_and_told(tmp_path: Path, said: Said, content: bytes) -> None:
    (tmp_path / REPORT_FILE).write_bytes(content)
    with ledger(tmp_path, said) as books:
        assert books.known("a", tmp_path / "a.nii.gz") is None
    assert (tmp_path / f"{REPORT_FILE}.old").read_bytes() == content
    assert len(said) == 1
    assert "report.json.old" in said[0]
    assert set(cases(tmp_path)) == {"a", "b"}


def test_a_report_that_cannot_be_written_is_told_once_and_stops_nothing(tmp_path: Path, said: Said) -> None:
    (tmp_path / LEDGER_FILE).mkdir()
    (tmp_path / TABLE_FILE).mkdir()
    with ledger(tmp_path, said) as books:
        books.started("a")
        books.ended(books.record("a"))
    assert len(said) == 1
    assert "the report cannot be kept (Is a directory); label maps are written all the same" in said[0]


def fsynced(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[tuple[str, bytes]]:
    """What is asked to be on the disk itself: names and contents of the files at that moment."""
    seen: list[tuple[str, bytes]] = []
    plain = os.fsync

    def watched(handle: int) -> None:
        held = {path.stat().st_ino: path for path in folder.iterdir()}
        path = held[os.fstat(handle).st_ino]
        seen.append((path.name, path.read_bytes()))
        plain(handle)

    monkeypatch.setattr(os, "fsync", watched)
    return seen


def test_the_hash_of_a_label_map_is_on_the_disk_before_the_file_gets_its_name(
    tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = killed(tmp_path, said)
    books.started("a")
    made = label_map(tmp_path / "a.nii.gz", b"labels")
    on_disk = fsynced(monkeypatch, tmp_path)
    books.written("a", made)
    assert [name for name, _ in on_disk] == [LEDGER_FILE]
    assert made.output_sha256.encode() in on_disk[0][1]


def test_the_last_report_is_on_the_disk_before_the_journal_goes(
    tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = killed(tmp_path, said)
    books.started("a")
    books.ended(replace(books.record("a"), status="written"))
    on_disk = fsynced(monkeypatch, tmp_path)
    books.__exit__(None, None, None)
    assert len(on_disk) == 1
    name, content = on_disk[0]
    assert name.startswith(PART_PREFIX)
    assert json.loads(content)["run"]["state"] == "complete"
    assert not (tmp_path / LEDGER_FILE).exists()


def test_a_journal_outlives_a_report_that_cannot_be_written(
    tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "a.nii.gz"
    books = killed(tmp_path, said)
    books.started("a")
    made = label_map(output, b"labels")
    books.written("a", made)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(ledger_module, "write_run_report", full)
        books.__exit__(None, None, None)
    assert len(said) == 1
    assert ledger(tmp_path, said).known("a", output) == made


def test_a_line_that_the_disk_has_no_room_for_is_told(
    tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = killed(tmp_path, said)
    plain = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda handle, line: plain(handle, line[:10]))
        books.started("a")
    assert len(said) == 1
    assert "No space left on device" in said[0]


def test_what_another_label_map_cost_is_not_said_of_this_one(tmp_path: Path, said: Said) -> None:
    output = tmp_path / "a.nii.gz"
    for content, seconds in ((b"first", 7.0), (b"second", 9.0)):
        with ledger(tmp_path, said) as books:
            books.started("a")
            books.written("a", label_map(output, content))
            books.ended(replace(books.record("a"), status="written", seconds=seconds))
    # Somebody put the first one back: it is known, but what the report tells of is the second.
    first = label_map(output, b"first")
    with ledger(tmp_path, said) as books:
        books.done_before("a", first)
    found = cases(tmp_path)["a"]
    assert (found["status"], found["output_sha256"], found["seconds"]) == ("done before", first.output_sha256, 0.0)


def test_a_case_that_came_to_an_end_is_no_suspect(tmp_path: Path, said: Said) -> None:
    killed(tmp_path, said).started("a")
    with ledger(tmp_path, said) as books:
        books.started("a")
        assert books.record("a").starts == 2
        books.ended(replace(books.record("a"), status="failed", reason="no image"))
        assert books.record("a").starts == 0
    assert cases(tmp_path)["a"]["starts"] == 0


def test_the_report_is_written_case_by_case_as_json_writes_it_whole(tmp_path: Path) -> None:
    records = [CaseRecord(name='a"b', reason="line\nbreak", further={"x": ["1", "2"]}), CaseRecord(name="\udcff")]
    for some in ([], records):
        write_run_report(tmp_path, {"model": "tiny", "sizes": []}, some, safely=False)
        text = (tmp_path / REPORT_FILE).read_text()
        assert text == json.dumps(json.loads(text), indent=1) + "\n"
        assert list(read_report(tmp_path).values()) == some
    with (tmp_path / TABLE_FILE).open(newline="") as table:
        assert [row["name"] for row in csv.DictReader(table)] == ['a"b', "\\udcff"]


def test_a_case_costs_little_memory_and_the_report_none(tmp_path: Path, said: Said) -> None:
    names = [f"case{number}" for number in range(1000)]
    images = {name: f"{name}_0000.nii.gz" for name in names}
    hashes = {"weights_sha256": "1" * 64, "options_sha256": "2" * 64, "plan": "on the CPU, one window at a time"}
    with Ledger(tmp_path, {}, images, said.append) as books:
        tracemalloc.start()
        for name in names:
            books.started(name)
            ended = replace(books.record(name), status="written", output_sha256=name * 8, seconds=1.5, **hashes)
            books.ended(pickle.loads(pickle.dumps(ended)))  # as it comes from another process
        kept, most = tracemalloc.get_traced_memory()
        books.__exit__(None, None, None)
        most = max(most, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert kept < 1000 * len(names)
    assert most < kept + 300_000  # as one text the report has more than a megabyte
