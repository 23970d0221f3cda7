"""The whole protocol on a toy cohort: fully, partially, tumor-only and unlabeled cases to scores of test cases."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from flare_eval.commands.app import app as eval_app
from flare_infer.commands.app import app as infer_app
from flare_infer.errors import UsageError
from flare_infer.files.hashing import sha256_of_file
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.labels import CODES, ORGANS, TUMOR
from flare_infer.model.model_file import read_model_file
from flare_infer.runs.outputs_lock import outputs_locked
from flare_infer.volume.volume import Volume
from tests.dataset import make_dataset
from train.commands.app import app as train_app
from train.dataset.cases import read_cases
from train.fit.checkpoint import load_checkpoint
from train.protocol.run import describe_run, plan_pipeline, read_pipeline, run_pipeline
from train.record.journal import read_journal
from train.synth.cohort import write_cohort
from train.synth.cohort_plan import CaseGroup, CohortPlan
from train.workflow.engine import PipelineCallbacks, run_plan
from train.workflow.plan import Step, make_plan
from train.workflow.stage import Stage
from train.workflow.stamp import read_stamp

APPS = {"flare-train": train_app, "flare-infer": infer_app, "flare-eval": eval_app}

CONFIG = """
run = "RUN"
data = { dataset = "dataset", unlabeled = "dataset/imagesUnlabeled" }
fine = { recipe = "smoke", change = { steps = 40, optimization = { learning_rate = 0.01 } } }
machine = { device = "cpu" }

[coarse]
recipe = "smoke"
change = { steps = 6, cutmix = true, cleaning = true, unlabeled = true }

[pseudo]
organs = ["fine", "theirs"]
tumor = ["theirs", "fine"]
select = 2
with_tumor = 1

[[test]]
name = "phantoms"
images = "test/images"
labels = "test/labels"
"""

AFTER_FINE_FIT = ["export-fine", "predict-filling", "predict-unlabeled", "uncertainty", "select", "merge", "clean"]
COARSE = ["prepare-coarse", "objects", "fit-coarse", "export-coarse", "predict-phantoms", "score-phantoms"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A painted cohort, the label maps of another team, and a test case that validates."""
    folder = tmp_path_factory.mktemp("cohort")
    groups = (
        CaseGroup(name="full", annotated=ORGANS, cases=1),
        CaseGroup(name="partial", annotated=(1, 2, 3, 13, TUMOR), cases=1),
        CaseGroup(name="tumor", annotated=(TUMOR,), cases=2),
    )
    plan = CohortPlan(groups=groups, unlabeled=3, validation=1, patients=2, spacing_mm=(6.0, 6.0, 6.0))
    write_cohort(folder / "dataset", plan)
    for name in ("theirs", "test/images", "test/labels"):
        (folder / name).mkdir(parents=True)
    for path in (folder / "dataset" / "truth").glob("unlabeled*"):
        shifted = read_volume(path)
        moved = np.roll(shifted.array_zyx, 1, axis=1)
        write_volume(folder / "theirs" / path.name, Volume(array_zyx=moved, placement=shifted.placement))
    for kind, name in (("images", "imagesTr"), ("labels", "labelsTr")):
        for path in (folder / "dataset" / name).glob("validation*"):
            (folder / "test" / kind / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def reference(cohort: Path) -> Iterator[Path]:
    """A run by the commands that the plan prints, one after the other in this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = cohort / "reference.toml"
    config.write_text(CONFIG.replace("RUN", "reference"))
    assert [step.action for step in by_commands(config)] == ["run"] * 16
    yield cohort / "reference"
    torch.set_num_threads(threads)


def steps_of(config_file: Path) -> list[Step]:
    pipeline = read_pipeline(config_file)
    return make_plan(pipeline.run, pipeline.stages)


def by_commands(config_file: Path) -> list[Step]:
    pipeline = read_pipeline(config_file)
    describe_run(pipeline, config_file.read_text())
    steps = make_plan(pipeline.run, pipeline.stages)
    run_plan(pipeline.run, steps, PipelineCallbacks(), command)
    return steps


def command(stage: Stage, log: Path, waiting: Callable[[], None]) -> None:
    program, *arguments = stage.whole_command
    result = CliRunner().invoke(APPS[program], arguments)
    assert result.exit_code == 0, (stage.line, result.output)


def to_run(config: Path) -> dict[str, str]:
    return {step.stage.name: step.reason for step in steps_of(config) if step.action != "done"}


def weights_of(run: Path) -> str:
    return sha256_of_file(run / "coarse" / "weights" / "model.safetensors")


def test_from_a_cohort_to_scores(cohort: Path, reference: Path) -> None:
    cases = {case.name: case for case in read_cases(reference / "merged")}
    assert len(cases) == 5 + 2
    assert {name for name in cases if cases[name].unlabeled} <= {f"unlabeled_{index:03d}" for index in range(3)}
    assert [name for name in cases if cases[name].validation] == ["validation_000"]
    assert cases["partial_000"].annotated == (1, 2, 3, 13, TUMOR), "neither filled nor denied"
    assert set(cases["tumor_000"].annotated) == set(CODES)
    expert = read_volume(cohort / "dataset" / "labelsTr" / "tumor_000.nii.gz").array_zyx
    filled = read_volume(cases["tumor_000"].labels).array_zyx
    np.testing.assert_array_equal(filled == TUMOR, expert == TUMOR)

    spec = read_model_file(reference / "coarse" / "weights").spec
    assert set(spec.training["cases"]) == set(cases) - {"validation_000"}
    scores = (reference / "test" / "phantoms" / "scores" / "scores.csv").read_text().splitlines()
    assert len(scores) == 1 + len(CODES)
    for name in ("tables/phantoms-table3.md", "tables/uncertainty.csv", "tables/cleaning.csv", "config.toml"):
        assert (reference / name).is_file(), name
    assert (reference / "pictures" / "objects.png").is_file()
    assert "torch" in json.loads((reference / "versions.json").read_text())["packages"]


def test_a_changed_configuration_reruns_what_depends_on_it(cohort: Path, reference: Path) -> None:
    config = cohort / "reference.toml"
    before = config.read_text()
    assert to_run(config) == {}
    config.write_text(before.replace("with_tumor = 1", "with_tumor = 0"))
    assert set(to_run(config)) == {"select", "merge", "clean", *COARSE}
    assert to_run(config)["select"] == "with_tumor: 1, now 0"
    config.write_text(before.replace("steps = 40", "steps = 41"))
    assert set(to_run(config)) == {"fit-fine", *AFTER_FINE_FIT, *COARSE}
    config.write_text(before.replace('device = "cpu"', 'device = "cpu", workers = 2'))
    assert to_run(config) == {}

    config.write_text(before.replace("steps = 6", "steps = 7"))
    assert to_run(config) == {
        "fit-coarse": "recipe.steps: 6, now 7",
        "export-coarse": "fit-coarse changed",
        "predict-phantoms": "export-coarse changed",
        "score-phantoms": "predict-phantoms changed",
    }
    told = plan_pipeline(config)
    assert "fit-coarse" in told
    assert "4 of 16 stages to run" in told
    assert not (reference / "coarse" / "run.old-1").exists(), "a plan starts nothing"

    first = weights_of(reference)
    by_commands(config)
    assert weights_of(reference) != first
    assert weights_of(reference) == sha256_of_file(reference / "coarse" / "weights" / "model.safetensors")
    assert sha256_of_file(reference / "coarse" / "weights.old-1" / "model.safetensors") == first
    config.write_text(before)
    by_commands(config)
    assert weights_of(reference) == first


def test_killed_at_random_and_continued_it_makes_the_same_weights(cohort: Path, reference: Path) -> None:
    config, run = cohort / "killed.toml", cohort / "killed"
    config.write_text(CONFIG.replace("RUN", "killed"))
    stopped = start(config)
    wait_for(stopped, lambda: len(read_journal(run / "fine" / "run")) >= 2)
    stopped.send_signal(signal.SIGTERM)
    _, said = stopped.communicate()
    assert stopped.returncode == 128 + signal.SIGTERM
    assert said == "error: stopped by SIGTERM; what is done is kept, the same command goes on from there\n"
    checkpoint = load_checkpoint(run / "fine" / "run")
    assert checkpoint is not None
    assert checkpoint.step < 40

    rng = random.Random(8)
    order = [step.stage.name for step in steps_of(config)]
    for name in sorted(rng.sample(order[1:-1], 4), key=order.index):
        killed = start(config)
        wait_for(killed, lambda name=name: read_stamp(run, name) is not None)  # type: ignore[misc]
        time.sleep(rng.random())
        killed.kill()
        killed.communicate()
        wait_for(None, lambda: not processes_of(run))
    last = start(config)
    output, said = last.communicate()
    assert last.returncode == 0, said
    assert f"{run}: score-phantoms and all before it are done" in output
    assert weights_of(run) == weights_of(reference)
    scores = [folder / "test" / "phantoms" / "scores" / "scores.csv" for folder in (run, reference)]
    assert scores[0].read_text() == scores[1].read_text()


def test_a_stage_that_fails_is_one_line_and_the_rest_is_kept(tmp_path: Path) -> None:
    broken = make_dataset(tmp_path, {"a": (1, 2), "b": (TUMOR,)}) / "labelsTr" / "a.nii.gz"
    broken.write_bytes(b"no image")
    config = tmp_path / "p.toml"
    config.write_text('run = "run"\ndata = { dataset = "dataset" }\nfine = { recipe = "smoke" }\n')
    process = start(config)
    _, said = process.communicate()
    assert process.returncode == 2
    (line,) = said.splitlines()
    assert line.startswith("error: prepare-fine: ")
    assert str(broken) in line
    assert line.endswith(f"all it said is in {tmp_path / 'run' / 'logs' / 'prepare-fine.log'}")


def test_two_pipelines_never_work_on_one_run(tmp_path: Path) -> None:
    make_dataset(tmp_path, {"a": (1, 2)})
    config = tmp_path / "p.toml"
    config.write_text('run = "run"\ndata = { dataset = "dataset" }\n')
    (tmp_path / "run").mkdir()
    with outputs_locked(tmp_path / "run", print), pytest.raises(UsageError, match="another run writes here"):
        run_pipeline(config)


def test_a_run_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    make_dataset(tmp_path, {"a": (1, 2)})
    config = tmp_path / "p.toml"
    config.write_text('run = "p.toml/run"\ndata = { dataset = "dataset" }\n')
    with pytest.raises(UsageError, match="Not a directory; make room or choose another run folder"):
        run_pipeline(config)


def start(config: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", "from train.commands.app import main; main()", "pipeline", str(config)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for(process: "subprocess.Popen[str] | None", condition: Callable[[], bool]) -> None:
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)


def processes_of(run: Path) -> list[str]:
    """Command lines of living processes that name the run folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if f"{run}/" in line:
            found.append(line)
    return found
