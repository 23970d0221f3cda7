"""Stages as jobs of a cluster: each alone by the pipeline's command, in the order of what they read."""

import ast
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flare_infer.errors import UsageError
from flare_infer.labels import TUMOR
from flare_infer.runs.outputs_lock import outputs_locked
from tests.dataset import make_dataset
from tests.train.commands.test_app import run
from tests.train.protocol.test_reproduce import COUNTS
from tests.train.workflow.test_engine import Toys
from train.commands.app import app
from train.protocol import run as protocol
from train.protocol.config import Config, Data, Machine, Test
from train.protocol.run import Pipeline, run_only, run_pipeline
from train.protocol.stages import pipeline_stages
from train.workflow import launch
from train.workflow.sbatch import sbatch_script
from train.workflow.snakefile import snakefile
from train.workflow.stage import Stage
from train.workflow.stamp import STAMPS, Stamp, read_stamp, write_stamp

SBATCH = """#!/bin/sh
number=$(($(cat "$JOBS/count") + 1))
if [ "$number" -gt "$MOST" ]; then echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1; fi
echo "$number" >"$JOBS/count"
printf '%s\\0' "$@" >"$JOBS/$number"
echo "$number;cluster"
"""
"""Slurm's command as far as the script needs it: it keeps what it is given, and says the number of the job."""

FLARE_TRAIN = """#!/bin/sh
printf '%s\\0' "$@"
"""


class Jobs:
    """The four toys as a pipeline with a configuration, and a cluster that runs them; paths are hard to quote."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        place = folder / "it's 100% {CONFIG} $HOME"
        place.mkdir()
        self.toys = Toys(place)
        self.config = place / 'the "pipeline".toml'
        self.config.write_text("")
        self.fails = ""
        self.meanwhile: Callable[[str], None] = lambda name: None
        monkeypatch.setattr(protocol, "read_pipeline", lambda path: self.pipeline())
        monkeypatch.setattr(protocol, "run_stage", self.start)
        self.programs, self.queue = folder / "bin", folder / "queue"
        self.programs.mkdir()
        for name, text in (("sbatch", SBATCH), ("flare-train", FLARE_TRAIN)):
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)
        monkeypatch.setenv("PATH", os.pathsep.join([str(self.programs), os.environ["PATH"]]))

    def pipeline(self) -> Pipeline:
        return Pipeline(run=self.toys.run, stages=self.toys.stages(), files={}, weights=self.toys.run / "d")

    def start(self, stage: Stage, log: Path, waiting: Callable[[], None], locks: tuple[int, ...]) -> None:
        if stage.name == self.fails:
            raise UsageError("out of memory")
        self.meanwhile(stage.name)
        self.toys.start(stage, log, waiting)

    def submit(self, script: Path, *options: str, most: int = 99) -> "subprocess.CompletedProcess[str]":
        shutil.rmtree(self.queue, ignore_errors=True)
        self.queue.mkdir()
        (self.queue / "count").write_text("0")
        environment = os.environ | {"JOBS": str(self.queue), "MOST": str(most)}
        return subprocess.run(["sh", script, *options], capture_output=True, text=True, env=environment, check=False)

    def work(self) -> dict[str, bool]:
        """Run the jobs, those submitted last first, as far as dependencies allow; which of them ended well."""
        jobs = {int(path.name): read_words(path.read_bytes()) for path in self.queue.glob("[0-9]*")}
        after = {number: dependencies(words) for number, words in jobs.items()}
        assert all(other < number for number, others in after.items() for other in others), "no such job yet"
        ended: dict[int, bool] = {}
        while ready := [job for job in jobs if job not in ended and all(ended.get(other) for other in after[job])]:
            (wrapped,) = [word.removeprefix("--wrap=") for word in jobs[max(ready)] if word.startswith("--wrap=")]
            ended[max(ready)] = self.typed(wrapped) == 0
        return {option(jobs[number], "--job-name"): well for number, well in ended.items()}

    def typed(self, line: str) -> int:
        """The exit code of a line of shell; what it gives to `flare-train` is done in this process."""
        given = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
        return run(app, *read_words(given.stdout))[0]


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.setattr(protocol, "write_versions", lambda run: None)
    return Jobs(tmp_path, monkeypatch)


def read_words(content: bytes) -> list[str]:
    return content.decode().split("\0")[:-1]


def option(words: list[str], name: str) -> str:
    (value,) = [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
    return value


def dependencies(words: list[str]) -> list[int]:
    """The jobs that must have ended well before this one."""
    if not any(word.startswith("--dependency=") for word in words):
        return []
    kind, *numbers = option(words, "--dependency").split(":")
    assert kind == "afterok"
    return [int(number) for number in numbers]


def paper_stages(folder: Path, *tests: str) -> list[Stage]:
    config = Config(
        run=folder,
        data=Data(dataset=Path("/labeled"), unlabeled=Path("/unlabeled")),
        test=tuple(Test(name=name, images=Path("/images"), labels=Path("/labels")) for name in tests),
        machine=Machine(device="cuda", workers=8, gpus=2),
    )
    return pipeline_stages(config, replace(COUNTS, tests=dict.fromkeys(tests, 50)))


def test_slurm_runs_every_stage_after_those_it_reads_and_stamps_say_what_is_done(jobs: Jobs, tmp_path: Path) -> None:
    script = tmp_path / "submit.sh"
    code, said, _ = run(app, "pipeline", jobs.config, "--export", "sbatch", "--to", script)
    assert (code, said) == (0, f"{script}: written\n")
    assert not jobs.toys.run.exists(), "nothing is started"

    submitted = jobs.submit(script, "--partition=gpu", "--comment=two words")
    assert submitted.stdout == "a: job 1\nb: job 2\nc: job 3\nd: job 4\n", submitted.stderr
    given = read_words((jobs.queue / "4").read_bytes())
    assert given[-2:] == ["--partition=gpu", "--comment=two words"], "after our own options: these count"
    assert option(given, "--output") == str(jobs.toys.run / "logs" / "d.slurm.log").replace("%", "%%")
    assert (jobs.toys.run / "logs").is_dir(), "Slurm makes no folder"
    jobs.fails = "b"
    assert jobs.work() == {"a": True, "c": True, "b": False}
    assert jobs.toys.ran == ["a", "c"]

    jobs.fails = ""
    jobs.submit(script)
    assert jobs.work() == dict.fromkeys("acbd", True)
    assert jobs.toys.ran == ["a", "c", "b", "d"], "what is done is not done again"
    assert jobs.toys.reasons() == {}


def test_a_submission_that_slurm_refuses_in_the_middle_says_what_to_take_back(jobs: Jobs, tmp_path: Path) -> None:
    script = tmp_path / "submit.sh"
    run(app, "pipeline", jobs.config, "--export", "sbatch", "--to", script)
    refused = jobs.submit(script, most=2)
    assert refused.returncode == 1
    assert refused.stdout == "a: job 1\nb: job 2\n"
    assert refused.stderr.endswith("error: not all jobs were submitted; to take back the others: scancel 1 2\n")


def test_slurm_gets_what_the_stages_of_the_paper_need(jobs: Jobs, tmp_path: Path) -> None:
    stages, script = paper_stages(tmp_path / "run", "validation"), tmp_path / "submit.sh"
    script.write_text(sbatch_script(tmp_path / "p.toml", tmp_path / "run", stages))
    assert jobs.submit(script).returncode == 0
    given = [read_words((jobs.queue / str(number)).read_bytes()) for number in range(1, len(stages) + 1)]
    asked = {option(words, "--job-name"): words for words in given}
    after = {name: tuple(stages[job - 1].name for job in dependencies(words)) for name, words in asked.items()}
    assert after == {stage.name: stage.after for stage in stages}
    gpus = {name: option(words, "--gpus") for name, words in asked.items() if "--gpus=" in " ".join(words)}
    trains, predicts = ("fit-fine", "fit-coarse"), ("predict-filling", "predict-unlabeled", "predict-validation")
    assert gpus == {**dict.fromkeys(trains, "2"), **dict.fromkeys(predicts, "1")}
    several = {stage.name for stage in stages if {"--workers", "--jobs"} & set(stage.running)}
    assert {name for name, words in asked.items() if "--cpus-per-task=8" in words} == several


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_the_script_is_clean(tmp_path: Path) -> None:
    script = tmp_path / "submit.sh"
    stages = paper_stages(tmp_path / "my run", "it's", "a b")
    script.write_text(sbatch_script(tmp_path / "p.toml", tmp_path / "my run", stages))
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_logs_that_slurm_cannot_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Slurm cannot write a log to a path with a backslash"):
        sbatch_script(tmp_path / "p.toml", tmp_path / "a\\b", paper_stages(tmp_path / "a\\b"))


def rules_of(text: str) -> dict[str, tuple[list[str], list[str], str]]:
    """Inputs, outputs and the shell's line of each rule."""
    rules = {}
    for block in re.split(r"^rule ", text, flags=re.MULTILINE)[1:]:
        parts = dict(re.findall(r"^    (\w+):((?:\n        .*| .*)+)", block, re.MULTILINE))
        files = [re.findall(r'"([^"]+)"', parts.get(part, "")) for part in ("input", "output")]
        rules[block.partition(":")[0]] = (files[0], files[1], ast.literal_eval(parts.get("shell", "''").strip()))
    return rules


def test_the_snakefile_has_each_stage_once_after_those_it_reads(tmp_path: Path) -> None:
    config, tests = tmp_path / "it's {wildcards} p.toml", ("a-b", "a b", "ü")
    stages = paper_stages(tmp_path / "run", *tests)
    rules = rules_of(snakefile(config, tmp_path / "run", stages))
    wanted, _, nothing = rules.pop("all")
    assert nothing == ""
    assert len(rules) == len(stages)
    made: dict[str, str] = {}
    for stage, (inputs, outputs, line) in zip(stages, rules.values(), strict=True):
        assert shlex.split(line.format()) == ["exec", "flare-train", "pipeline", str(config), "--only", stage.name]
        assert [made[file] for file in inputs] == list(stage.after)
        (output,) = outputs
        assert output not in made
        made[output] = stage.name
    assert [made[file] for file in wanted] == ["clean", *(f"score-{name}" for name in tests)]


@pytest.mark.skipif(shutil.which("snakemake") is None, reason="needs Snakemake")
def test_snakemake_runs_the_stages_at_every_start(jobs: Jobs, tmp_path: Path) -> None:
    file, calls = tmp_path / "Snakefile", tmp_path / "calls"
    code, text, _ = run(app, "pipeline", jobs.config, "--export", "snakefile")
    assert code == 0
    file.write_text(text)
    (jobs.programs / "flare-train").write_text(
        f'#!/bin/sh\n[ "$2" = {shlex.quote(str(jobs.config))} ] && echo "$4" >>{calls} && [ "$4" != "$FAILS" ]\n'
    )
    command = ["snakemake", "--snakefile", file, "--cores", "1"]
    for fails, well in (("b", False), ("", True), ("", True)):
        calls.unlink(missing_ok=True)
        environment = os.environ | {"FAILS": fails}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
        assert (done.returncode == 0) == well, done.stderr
        called = calls.read_text().split()
        assert called[0] == "a"
        assert sorted(called) == list("abcd") if well else "d" not in called
        assert not list(jobs.toys.run.rglob("*.done"))


def test_a_stage_before_which_something_is_not_done_is_refused(jobs: Jobs) -> None:
    code, _, said = run(app, "pipeline", jobs.config, "--only", "d")
    assert code == 2
    assert said == "error: d: reads from what is not done, a (new); b (new); run that first\n"
    for name in "ab":
        assert run(app, "pipeline", jobs.config, "--only", name)[0] == 0
    code, said, _ = run(app, "pipeline", jobs.config, "--only", "d")
    assert code == 0
    assert said.splitlines()[0] == "[1/1] d: new"
    assert said.endswith(f"{jobs.toys.run / 'd'}: d is done\n")
    assert jobs.toys.ran == ["a", "b", "d"], "c is not read"
    jobs.toys.settings["a"] = 2
    _, _, said = run(app, "pipeline", jobs.config, "--only", "d")
    assert said.startswith("error: d: reads from what is not done, a (number: 1, now 2); b (a changed)")
    assert run(app, "pipeline", jobs.config, "--only", "e")[2].startswith("error: --only: no stage 'e'")


def test_stages_run_side_by_side_but_not_twice_nor_beside_the_whole(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_LONGEST_END_SECONDS", 0.0)
    run_only(jobs.config, "a")

    def others(name: str) -> None:
        jobs.meanwhile = lambda name: None
        (jobs.toys.run / name).mkdir()
        (jobs.toys.run / name / "half").touch()
        run_only(jobs.config, "c")
        with pytest.raises(UsageError, match="a stage of an earlier start still goes on"):
            run_only(jobs.config, name)
        assert (jobs.toys.run / name / "half").exists(), "not cleared away from under the other"
        with pytest.raises(UsageError, match="another run writes here"):
            run_pipeline(jobs.config)

    jobs.meanwhile = others
    run_only(jobs.config, "b")
    assert jobs.toys.ran == ["a", "c", "b"]
    with outputs_locked(jobs.toys.run, print), pytest.raises(UsageError, match="another run writes here"):
        run_only(jobs.config, "d")


def test_a_stage_waits_for_the_end_of_what_a_killed_pipeline_started(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_LONGEST_END_SECONDS", 0.0)
    logs = jobs.toys.run / "logs"
    logs.mkdir(parents=True)
    with launch._stage_lock(logs / launch.LOCK_FILE), pytest.raises(UsageError, match="still goes on"):
        run_only(jobs.config, "a")


def test_a_stamp_that_another_stage_is_writing_is_left_alone(tmp_path: Path) -> None:
    write_stamp(tmp_path, "a", Stamp(parts={}))
    half = tmp_path / STAMPS / ".writing-1-0"
    half.touch()
    write_stamp(tmp_path, "a", Stamp(parts={}, state="done"))
    assert half.exists()


def test_a_real_stage_runs_alone(tmp_path: Path) -> None:
    make_dataset(tmp_path, {"a": (1, 2), "b": (TUMOR,)})
    config = tmp_path / "p.toml"
    config.write_text('run = "run"\ndata = { dataset = "dataset" }\nfine = { recipe = "smoke" }\n')
    code, _, said = run(app, "pipeline", config, "--only", "gather")
    assert code == 0, said
    stamp = read_stamp(tmp_path / "run", "gather")
    assert stamp is not None
    assert stamp.state == "done"
    assert [path.name for path in (tmp_path / "run" / "stamps").iterdir()] == ["gather.json"]
    assert (tmp_path / "run" / "logs" / "gather.log").read_text().startswith("$ flare-train gather ")
    assert (tmp_path / "run" / "config.toml").read_text() == config.read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--export", "sbatch", "--plan"), "--plan and --export do not go together"),
        (("--only", "a", "--export", "sbatch"), "--only and --export do not go together"),
        (("--only", "a", "--until", "b"), "--only and --until do not go together"),
        (("--only", "a", "--example", "small"), "--only and --example do not go together"),
        (("--to", "file"), "--to names a file for --export, which is missing"),
    ],
)
def test_options_that_contradict_each_other_are_one_line(jobs: Jobs, options: tuple[str, ...], says: str) -> None:
    code, _, said = run(app, "pipeline", jobs.config, *options)
    assert code == 2
    assert said.startswith(f"error: {says}")
    assert said.count("\n") == 1
    assert jobs.toys.ran == []


def test_an_exported_file_replaces_none_and_may_end_early(jobs: Jobs, tmp_path: Path) -> None:
    mine = tmp_path / "mine.sh"
    mine.write_text("by hand")
    code, _, said = run(app, "pipeline", jobs.config, "--export", "sbatch", "--to", mine)
    assert code == 2
    assert said == f"error: {mine}: is there already, and nothing is overwritten; choose another name\n"
    assert mine.read_text() == "by hand"
    _, printed, _ = run(app, "pipeline", jobs.config, "--export", "sbatch", "--until", "b")
    assert re.findall(r"^submit (\w)", printed, re.MULTILINE) == ["a", "b"]
