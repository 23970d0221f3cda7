"""The functions that a training run reports to, and that may stop it."""

from collections.abc import Callable
from dataclasses import dataclass

from train.record.journal import StepEntry, ValidationEntry


@dataclass(frozen=True, kw_only=True)
class TrainingCallbacks:
    """Functions that a run calls: the first process reports its progress, and every process asks whether to stop.

    Attributes:
        step: called after each step.
        validated: called after each validation.
        notice: called with a line for people.
        stop: called before each step and each validation window; once it is true in any process, the state is saved
            and training ends early in all processes.
    """

    step: Callable[[StepEntry], None] = lambda entry: None
    validated: Callable[[ValidationEntry], None] = lambda validated: None
    notice: Callable[[str], None] = lambda line: None
    stop: Callable[[], bool] = lambda: False
