"""Stages, stamps and plans of a pipeline, with toys in place of commands."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from flare_infer.errors import DatasetError, ReportError, UsageError
from train.workflow.engine import PipelineCallbacks, run_plan
from train.workflow.launch import run_stage
from train.workflow.plan import disk_note, make_plan, plan_text
from train.workflow.progress import count_done
from train.workflow.stage import Leftovers, Stage
from train.workflow.stamp import identity, read_stamp


class Toys:
    """Four stages: b and c read a, d reads b; each writes one file, and can be made to die."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "run"
        self.data = folder / "data"
        self.data.mkdir()
        (self.data / "case.txt").write_text("voxels")
        self.settings = {"a": 1, "b": 1, "c": 1, "d": 1}
        self.leftovers: dict[str, Leftovers] = {"a": "kept", "b": "continued", "c": "removed", "d": "removed"}
        self.ran: list[str] = []
        self.dies = ""

    def stages(self) -> list[Stage]:
        reads: dict[str, tuple[str, ...]] = {"a": (), "b": ("a",), "c": ("a",), "d": ("b",)}
        return [
            Stage(
                name=name,
                command=("toy", name),
                running=("--workers", "2"),
                settings={"number": self.settings[name]},
                inputs={"data": [self.data]} if name == "a" else {},
                after=after,
                output=self.run / name,
                proof="result",
                leftovers=self.leftovers[name],
            )
            for name, after in reads.items()
        ]

    def start(self, stage: Stage, log: Path, waiting: Callable[[], None]) -> None:
        self.ran.append(stage.name)
        stage.output.mkdir(parents=True, exist_ok=True)
        with (stage.output / "began").open("a") as file:
            file.write("x")
        if stage.name == self.dies:
            raise KeyboardInterrupt
        (stage.output / "result").write_text(str(stage.settings["number"]))

    def go(self) -> list[str]:
        """Run, and say which stages ran."""
        self.ran = []
        run_plan(self.run, make_plan(self.run, self.stages()), PipelineCallbacks(), self.start)
        return self.ran

    def reasons(self) -> dict[str, str]:
        return {step.stage.name: step.reason for step in make_plan(self.run, self.stages()) if step.action != "done"}


@pytest.fixture
def toys(tmp_path: Path) -> Toys:
    return Toys(tmp_path)


def test_what_is_done_is_not_done_again(toys: Toys) -> None:
    assert toys.reasons() == dict.fromkeys("abcd", "new")
    assert toys.go() == ["a", "b", "c", "d"]
    assert toys.reasons() == {}
    assert toys.go() == []


def test_a_changed_setting_reruns_what_depends_on_it_and_nothing_else(toys: Toys) -> None:
    toys.go()
    toys.settings["b"] = 2
    assert toys.reasons() == {"b": "number: 1, now 2", "d": "b changed"}
    assert toys.go() == ["b", "d"]
    toys.settings["d"] = 2
    assert toys.go() == ["d"]
    toys.settings["a"] = 2
    assert toys.go() == ["a", "b", "c", "d"]


def test_changed_data_rerun_what_depends_on_them(toys: Toys) -> None:
    toys.go()
    (toys.data / "case2.txt").write_text("more voxels")
    assert toys.reasons() == {
        "a": "data: 1 files, now 2",
        "b": "a changed",
        "c": "a changed",
        "d": "b changed",
    }
    assert toys.go() == ["a", "b", "c", "d"]
    (toys.data / "case2.txt").write_text("other voxels of another size")
    assert toys.reasons()["a"] == "data: files changed"


def test_an_old_result_is_set_aside_unless_the_command_knows_it(toys: Toys) -> None:
    toys.go()
    toys.settings = dict.fromkeys("abcd", 2)
    toys.go()
    toys.settings = dict.fromkeys("abcd", 3)
    toys.go()
    for name in "bcd":
        assert [(toys.run / f"{name}{old}" / "result").read_text() for old in (".old-1", ".old-2", "")] == list("123")
    assert not (toys.run / "a.old-1").exists()
    assert (toys.run / "a" / "began").read_text() == "xxx"


@pytest.mark.parametrize(("name", "began"), [("a", "xx"), ("b", "xx"), ("c", "x"), ("d", "x")])
def test_an_interrupted_stage_goes_on_or_begins_anew(toys: Toys, name: str, began: str) -> None:
    toys.dies = name
    with pytest.raises(KeyboardInterrupt):
        toys.go()
    toys.dies = ""
    assert toys.reasons()[name] == "was interrupted"
    assert toys.go() == [left for left in "abcd" if left >= name]
    assert (toys.run / name / "began").read_text() == began
    assert not list(toys.run.glob("*.old-*"))


def test_an_interrupted_stage_that_changed_meanwhile_does_not_go_on_with_what_it_has(toys: Toys) -> None:
    toys.dies = "b"
    with pytest.raises(KeyboardInterrupt):
        toys.go()
    toys.dies, toys.settings["b"] = "", 2
    assert toys.reasons()["b"] == "number: 1, now 2"
    toys.go()
    assert (toys.run / "b" / "began").read_text() == "x"
    assert (toys.run / "b.old-1" / "began").read_text() == "x"


def test_a_removed_result_is_made_again_only_where_it_is_needed(toys: Toys) -> None:
    toys.go()
    for name in "ab":
        (toys.run / name / "result").unlink()
    assert toys.go() == [], "nothing that is left to do reads them"
    (toys.run / "d" / "result").unlink()
    assert toys.go() == ["a", "b", "d"]


def test_a_link_that_leads_nowhere_is_no_result(toys: Toys) -> None:
    toys.go()
    (toys.run / "d" / "images").mkdir()
    (toys.run / "d" / "images" / "case").symlink_to(toys.data / "case.txt")
    assert toys.go() == []
    (toys.data / "case.txt").rename(toys.data / "other.txt")
    assert toys.reasons()["d"] == "b changed"
    assert not toys.stages()[-1].is_there


def test_what_no_stamp_says_is_ours_is_not_touched(toys: Toys) -> None:
    (toys.run / "c").mkdir(parents=True)
    (toys.run / "c" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="no stamp says that c made it"):
        toys.go()
    assert toys.ran == []
    assert (toys.run / "c" / "thesis.txt").read_text() == "years of work"


def test_a_damaged_stamp_is_named(toys: Toys) -> None:
    toys.go()
    path = toys.run / "stamps" / "b.json"
    path.write_text(path.read_text().replace('"number": 1', '"number": 2'))
    with pytest.raises(ReportError, match=r"b\.json: was changed since it was written"):
        toys.go()
    path.write_text("{}")
    with pytest.raises(ReportError, match=r"b\.json: no stamp of a stage"):
        toys.go()


def test_a_stage_that_writes_nothing_is_not_done(toys: Toys) -> None:
    steps = make_plan(toys.run, toys.stages())
    with pytest.raises(DatasetError, match="a ended well, but did not write this"):
        run_plan(toys.run, steps, PipelineCallbacks(), lambda stage, log, waiting: None)
    stamp = read_stamp(toys.run, "a")
    assert stamp is not None
    assert stamp.state == "started"


def test_workers_and_places_are_no_part_of_a_stamp(toys: Toys, tmp_path: Path) -> None:
    toys.go()
    moved = tmp_path / "elsewhere"
    toys.run.rename(moved)
    (tmp_path / "disk2").mkdir()
    toys.data.rename(tmp_path / "disk2" / "data")
    toys.run, toys.data = moved, tmp_path / "disk2" / "data"
    stages = [replace(stage, running=("--workers", "9")) for stage in toys.stages()]
    assert {step.action for step in make_plan(toys.run, stages)} == {"done"}


def test_json_is_known_by_its_content_and_other_files_by_their_time(tmp_path: Path) -> None:
    for name in ("annotated.json", "image.nii.gz"):
        path = tmp_path / name
        path.write_text("{}")
        before = identity([tmp_path])
        content = path.read_text()
        path.unlink()
        path.write_text(content)
        os.utime(path, ns=(1, 1))
        assert (identity([tmp_path]) == before) == (name == "annotated.json")
        path.unlink()


def test_a_plan_is_told_with_commands_and_reasons(toys: Toys) -> None:
    toys.go()
    toys.settings["b"] = 2
    lines = plan_text(make_plan(toys.run, toys.stages())).splitlines()
    assert lines[0].split() == ["1", "a", "done", "done"]
    assert lines[1].split()[:3] == ["2", "b", "run"]
    assert lines[1].endswith("number: 1, now 2")
    assert lines[2] == "   toy b --workers 2"
    assert lines[-1] == "2 of 4 stages to run"


def test_a_training_run_that_has_begun_says_how_long_its_steps_take(toys: Toys) -> None:
    stages = [replace(stage, counted=("journal.csv", 100) if stage.name == "b" else None) for stage in toys.stages()]
    toys.dies = "b"
    with pytest.raises(KeyboardInterrupt):
        run_plan(toys.run, make_plan(toys.run, stages), PipelineCallbacks(), toys.start)
    assert "left" not in plan_text(make_plan(toys.run, stages)), "no step yet"
    rows = [f"{step},1.0,0.1,1.0,{seconds},False,0,0" for step, seconds in enumerate((900.0, 360.0, 360.0))]
    header = "step,loss,learning_rate,gradient_norm,seconds,skipped,pasted,lost"
    (toys.run / "b" / "journal.csv").write_text("\n".join([header, *rows]) + "\n")
    told = plan_text(make_plan(toys.run, stages))
    assert " 2 b  continue  was interrupted; 9.7 h left, by its own steps so far\n" in told
    stages = [replace(stage, settings={"number": 2}) for stage in stages]
    assert "left" not in plan_text(make_plan(toys.run, stages)), "another run's steps say nothing of this one"


def test_a_plan_says_how_much_disk_is_free(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=13e9))
    assert disk_note(toys.run) == f"13.0 GB are free in {toys.run.parent}"


def test_how_far_a_stage_is(tmp_path: Path) -> None:
    cases = Stage(name="prepare", command=(), output=tmp_path, proof="p", counted=("*/seal.json", 3))
    assert count_done(cases) == 0
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "seal.json").touch()
    assert count_done(cases) == 2
    fit = replace(cases, counted=("journal.csv", 5000))
    assert count_done(fit) == 0
    rows = "".join(f"{step},1.0,0.1\n" for step in range(4000))
    (tmp_path / "journal.csv").write_text(f"step,loss,learning_rate\n{rows}")
    assert count_done(fit) == 4000
    assert count_done(replace(cases, counted=None)) == 0


def test_a_stage_that_the_system_ends_is_told(tmp_path: Path) -> None:
    stage = Stage(name="fit", command=("flare-train", "fit", "store", "run"), output=tmp_path / "run", proof="p")

    def kill() -> None:
        for path in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
            for child in path.read_text().split():
                if b"train.workflow.process" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(int(child), signal.SIGKILL)

    with pytest.raises(UsageError, match=r"fit: ended by signal 9 from outside \(out of memory\?\); the same command"):
        run_stage(stage, tmp_path / "logs" / "fit.log", kill)
    assert (tmp_path / "logs" / "fit.log").read_text() == "$ flare-train fit store run\n"


def test_tables_and_pictures_are_collected(toys: Toys) -> None:
    stages = [replace(stage, tables={f"{stage.name}.csv": "result", "none.csv": "none"}) for stage in toys.stages()]
    run_plan(toys.run, make_plan(toys.run, stages), PipelineCallbacks(), toys.start)
    assert sorted(path.name for path in (toys.run / "tables").iterdir()) == [f"{name}.csv" for name in "abcd"]
