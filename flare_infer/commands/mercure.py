"""A processing module of mercure, the DICOM orchestrator: `python3 -m flare_infer.commands.mercure`.

mercure names two folders by the environment: MERCURE_IN_DIR holds the DICOM files of one series or study and a
`task.json`, MERCURE_OUT_DIR takes what was made of them. An exit code other than 0 sends the study to its error folder.
Source: "Module Development" in mercure's documentation, and `process_series.py` of its processor.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from flare_infer.commands.app import app
from flare_infer.errors import FlareError, UsageError
from flare_infer.files.json_file import read_object
from flare_infer.shell.command import IMPOSSIBLE, run, say_error

IN_DIR: Final = "MERCURE_IN_DIR"
OUT_DIR: Final = "MERCURE_OUT_DIR"
TASK_FILE: Final = "task.json"

SETTINGS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("to", "organs", "weights", "device", "precision", "backend", "series"), str),
    **dict.fromkeys(("gpu_budget", "ram_budget"), int),
    **dict.fromkeys(("labelmap", "statistics", "preview", "report", "fill_gaps"), bool),
}
"""What the module's settings in mercure may hold, and of which type: options of `flare-infer predict`."""

DEFAULTS: Final[Mapping[str, Any]] = {"to": "dicom-seg", "report": True}
"""Settings that hold unless the module's settings say otherwise."""


def predict_arguments(environment: Mapping[str, str]) -> list[str]:
    """The arguments of `flare-infer` for one task.

    Args:
        environment: the environment that mercure gives the module.

    Raises:
        UsageError: if mercure's variables are missing, the task cannot be read, or a setting is unknown.
    """
    lacking = [name for name in (IN_DIR, OUT_DIR) if not environment.get(name)]
    if lacking:
        raise UsageError(f"{' and '.join(lacking)} not set: mercure names folders by them when it starts this module")
    inputs, outputs = environment[IN_DIR], environment[OUT_DIR]
    chosen = {**DEFAULTS, **_settings(Path(inputs) / TASK_FILE)}
    return ["predict", inputs, outputs, *(part for name, value in chosen.items() for part in _option(name, value))]


def _settings(task_file: Path) -> Mapping[str, Any]:
    """The settings of the processing step that a task asks for; none if there is no task, as in a trial by hand."""
    try:
        step = read_object(task_file, UsageError).get("process") or {}
    except FileNotFoundError:
        return {}
    settings = (step.get("settings") or {}) if isinstance(step, dict) else step
    if not isinstance(settings, dict):
        raise UsageError(f"{task_file}: process: expected one step with settings, found {type(settings).__name__}")
    for name, value in settings.items():
        if name not in SETTINGS:
            raise UsageError(f"{task_file}: unknown setting {name}; expected one of {', '.join(SETTINGS)}")
        if type(value) is not SETTINGS[name]:
            raise UsageError(f"{task_file}: {name}: expected {SETTINGS[name].__name__}, found {value!r}")
    return settings


def _option(name: str, value: str | int | bool) -> list[str]:
    """A setting as an option of the command; one that is off has none."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [option] * value
    return [f"{option}={value}"]


def main() -> None:
    """Run the module, and end with the exit code of `flare-infer predict`."""
    try:
        arguments = predict_arguments(os.environ)
    except FlareError as error:
        say_error(str(error))
        sys.exit(IMPOSSIBLE)
    run(app, arguments)


if __name__ == "__main__":
    main()
