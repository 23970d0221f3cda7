"""Who is told what happens while a run goes on, and who may stop it."""

from collections.abc import Callable
from dataclasses import dataclass

from train.record.journal import Entry, Validated


@dataclass(frozen=True, kw_only=True)
class Watch:
    """The first process's ears, and every process's brake.

    Attributes:
        step: called after each step.
        validated: called after each validation.
        notice: called with a line that people should know.
        stop: asked before each step and each validation case; once true in any process, the state is saved and
            training ends early in all.
    """

    step: Callable[[Entry], None] = lambda entry: None
    validated: Callable[[Validated], None] = lambda validated: None
    notice: Callable[[str], None] = lambda line: None
    stop: Callable[[], bool] = lambda: False


UNWATCHED = Watch()
