"""From a configuration to a finished run folder."""

import difflib
from pathlib import Path
from typing import Final

from flare_infer.errors import UsageError
from flare_infer.files.write_whole import write_whole
from flare_infer.runs.outputs_lock import outputs_locked
from flare_infer.shell.command import say_error
from train.protocol.config import Config, read_config
from train.protocol.inspect_data import look_at_data
from train.protocol.stages import pipeline_stages, recipe_files
from train.workflow.engine import run_plan
from train.workflow.plan import disk_note, make_plan, plan_text
from train.workflow.progress import PipelineProgress
from train.workflow.stage import Stage
from train.workflow.toml_text import toml_text
from train.workflow.versions import write_versions

CONFIG_FILE: Final = "config.toml"


def plan_pipeline(path: Path, until: str | None = None) -> str:
    """What a pipeline would do, and why; nothing is written.

    Args:
        path: its TOML file.
        until: name of the last stage to do.

    Raises:
        FlareError: if it could not be done, naming everything that is in the way.
    """
    config = read_config(path)
    steps = make_plan(config.run, _stages(config, until))
    return f"{plan_text(steps)}\n{disk_note(config.run, steps)}"


def run_pipeline(path: Path, until: str | None = None) -> str:
    """Do it, and say where the results are.

    Args:
        path: its TOML file.
        until: name of the last stage to do.

    Raises:
        FlareError: if something is in the way, or a stage fails.
        Interrupted: if a signal asks to stop.
    """
    config = read_config(path)
    stages = _stages(config, until)
    try:
        config.run.mkdir(parents=True, exist_ok=True)
        with outputs_locked(config.run, say_error):
            steps = make_plan(config.run, stages)
            describe_run(config, path.read_text(encoding="utf-8"))
            with PipelineProgress(len(steps)) as terminal:
                run_plan(config.run, steps, terminal.callbacks)
    except OSError as error:
        raise UsageError(
            f"{error.filename or config.run}: {error.strerror or error}; make room or choose another run folder, then "
            "the same command goes on from there"
        ) from error
    return f"{config.run}: {steps[-1].stage.name} and all before it are done; {_result(config, until)}"


def describe_run(config: Config, text: str) -> None:
    """Write into the run folder what it is: the configuration, what that changes in recipes, and versions."""
    _write_whole(config.run / CONFIG_FILE, text)
    for file, change in recipe_files(config).items():
        _write_whole(file, toml_text(change))
    write_versions(config.run)


def _stages(config: Config, until: str | None) -> list[Stage]:
    stages = pipeline_stages(config, look_at_data(config))
    if until is None:
        return stages
    names = [stage.name for stage in stages]
    if until not in names:
        (nearest,) = difflib.get_close_matches(until, names, n=1, cutoff=0.0)
        raise UsageError(f"--until: no stage {until!r}; the nearest is {nearest}, all are {', '.join(names)}")
    return stages[: names.index(until) + 1]


def _result(config: Config, until: str | None) -> str:
    model = config.run / "coarse" / "weights"
    return f"the model is in {model}" if until is None else "without --until the same command goes on from there"


def _write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
