"""From a configuration to a finished run folder."""

import difflib
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final, Literal

import tomli_w

from flare_infer.errors import UsageError
from flare_infer.files.write_whole import remove_parts, write_json, write_whole
from flare_infer.runs.outputs_lock import outputs_locked
from flare_infer.shell.command import say_error
from flare_infer.version import __version__
from train.config_file import read_toml
from train.differences import some_of
from train.protocol.config import read_config
from train.protocol.inspect_data import inspect_data
from train.protocol.lite_config import inspect_lite_data, read_lite_config
from train.protocol.lite_stages import lite_files, lite_stages
from train.protocol.stages import pipeline_stages, recipe_files
from train.workflow.engine import LOGS, run_plan
from train.workflow.launch import one_stage_locked, run_stage
from train.workflow.plan import disk_note, make_plan, plan_text
from train.workflow.progress import PipelineProgress
from train.workflow.sbatch import sbatch_script
from train.workflow.snakefile import snakefile
from train.workflow.stage import Stage
from train.workflow.stamp import STAMPS

CONFIG_FILE: Final = "config.toml"
VERSIONS_FILE: Final = "versions.json"


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What a configuration asks for, whatever its protocol.

    Attributes:
        run: the run folder.
        stages: what there is to do, in order.
        files: contents of the TOML files that the commands of the stages name.
        weights: folder of the model that is wanted.
    """

    run: Path
    stages: Sequence[Stage]
    files: Mapping[Path, Mapping[str, Any]]
    weights: Path

    def until(self, name: str | None) -> "Pipeline":
        """The same up to a stage, or all of it.

        Raises:
            UsageError: if there is no stage of that name.
        """
        return self if name is None else replace(self, stages=self.stages[: self._place("--until", name) + 1])

    def only(self, name: str) -> "Pipeline":
        """The same with one stage, the last then, and those that it reads from, directly or not.

        Raises:
            UsageError: if there is no stage of that name.
        """
        stages: list[Stage] = []
        read = {name}
        for stage in reversed(self.stages[: self._place("--only", name) + 1]):
            if stage.name in read:
                stages.insert(0, stage)
                read |= set(stage.after)
        return replace(self, stages=stages)

    def _place(self, option: str, name: str) -> int:
        names = [stage.name for stage in self.stages]
        if name not in names:
            (nearest,) = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
            raise UsageError(f"{option}: no stage {name!r}; the nearest is {nearest}, all are {', '.join(names)}")
        return names.index(name)


def read_pipeline(path: Path) -> Pipeline:
    """Read a configuration, and look at the data that it names.

    Raises:
        UsageError: if it is no readable TOML file.
        ProblemsError: naming everything that is wrong with it or with the data.
    """
    if read_toml(path).get("protocol") == "lite":
        lite = read_lite_config(path)
        stages = lite_stages(lite, inspect_lite_data(lite))
        return Pipeline(run=lite.run, stages=stages, files=lite_files(lite), weights=lite.run / "weights")
    config = read_config(path)
    stages = pipeline_stages(config, inspect_data(config))
    weights = config.run / "coarse" / "weights"
    return Pipeline(run=config.run, stages=stages, files=recipe_files(config), weights=weights)


def plan_pipeline(path: Path, until: str | None = None) -> str:
    """What a pipeline would do, and why; nothing is written.

    Args:
        path: its TOML file.
        until: name of the last stage to do.

    Raises:
        FlareError: if it could not be done, naming everything that is in the way.
    """
    pipeline = read_pipeline(path).until(until)
    return f"{plan_text(make_plan(pipeline.run, pipeline.stages))}\n{disk_note(pipeline.run)}"


def run_pipeline(path: Path, until: str | None = None) -> str:
    """Do it, and say where the results are.

    Args:
        path: its TOML file.
        until: name of the last stage to do.

    Raises:
        FlareError: if something is in the way, or a stage fails.
        Interrupted: if a signal asks to stop.
    """
    pipeline = read_pipeline(path).until(until)
    run = pipeline.run
    with _folder_made(run), outputs_locked(run, say_error):
        remove_parts(run / STAMPS, "*.part")
        steps = make_plan(run, pipeline.stages)
        describe_run(pipeline, path.read_text(encoding="utf-8"))
        with PipelineProgress(len(steps)) as terminal:
            run_plan(run, steps, terminal.callbacks)
    result = f"the model is in {pipeline.weights}"
    if until is not None:
        result = "without --until the same command goes on from there"
    return f"{run}: {steps[-1].stage.name} and all before it are done; {result}"


def run_only(path: Path, name: str) -> str:
    """Do one stage, unless it is done, and say where its result is; other stages may run meanwhile.

    Args:
        path: the pipeline's TOML file.
        name: of the stage.

    Raises:
        FlareError: if something is in the way, a stage that it reads from is not done, or it fails.
        Interrupted: if a signal asks to stop.
    """
    pipeline = read_pipeline(path).only(name)
    run = pipeline.run
    # The lock of its own comes before the plan: the same stage, started twice, must not clear its own result away.
    with (
        _folder_made(run),
        outputs_locked(run, say_error, shared=True),
        one_stage_locked(run / LOGS, name) as locks,
    ):
        *before, step = make_plan(run, pipeline.stages)
        if missing := [f"{other.stage.name} ({other.reason})" for other in before if other.action != "done"]:
            raise UsageError(f"{name}: reads from what is not done, {some_of(missing)}; run that first")
        describe_run(pipeline, path.read_text(encoding="utf-8"))
        with PipelineProgress(1) as terminal:
            run_plan(run, [step], terminal.callbacks, partial(run_stage, locks=locks))
    return f"{step.stage.output}: {name} is done"


def export_pipeline(path: Path, form: Literal["sbatch", "snakefile"], until: str | None = None) -> str:
    """The text of a file that runs the stages as jobs, each by `run_only`; nothing is written.

    Args:
        path: the pipeline's TOML file.
        form: sbatch, a shell script that submits jobs to Slurm, or snakefile, for Snakemake.
        until: name of the last stage.

    Raises:
        FlareError: if the pipeline could not run, naming everything that is in the way, or a path cannot be written.
    """
    pipeline = read_pipeline(path).until(until)
    write = {"sbatch": sbatch_script, "snakefile": snakefile}[form]
    text = write(path.absolute(), pipeline.run.absolute(), pipeline.stages)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{path}: this path, or that of the run, is not Unicode; choose another one") from error
    return text


@contextmanager
def _folder_made(run: Path) -> Iterator[None]:
    """Inside, the run folder is there, and what the system refuses is one line.

    Raises:
        UsageError: in the place of an OSError.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UsageError(
            f"{error.filename or run}: {error.strerror or error}; make room or choose another run folder, then "
            "the same command goes on from there"
        ) from error


def describe_run(pipeline: Pipeline, text: str) -> None:
    """Write into the run folder what it is: the configuration, the files that commands name, and versions."""
    contents = {pipeline.run / CONFIG_FILE: text}
    contents |= {file: tomli_w.dumps(content) for file, content in pipeline.files.items()}
    for file, content in contents.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
    write_versions(pipeline.run)


def write_versions(run: Path) -> None:
    """Write versions of this program, Python, the system and every package, for whoever repeats the run."""
    packages = {found.metadata["Name"]: found.version for found in distributions() if found.metadata["Name"]}
    content = {
        "program": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }
    write_json(run / VERSIONS_FILE, content)
