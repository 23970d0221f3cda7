"""What `flare-train fit` shows: a bar on a terminal, a line every 30 seconds in a log."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, TextColumn

from flare_infer.shell.progress import Progress
from train.recipes.validation import Validation
from train.record.callbacks import TrainingCallbacks
from train.record.journal import StepEntry, ValidationEntry

SECONDS_BETWEEN_LINES: Final = 30.0
_RECENT_STEPS: Final = 50


class TrainingProgress(Progress):
    """Shows how a training run goes on.

    A terminal gets a bar; a log gets a line every SECONDS_BETWEEN_LINES.

    Args:
        steps: number of steps of the whole run.
        validation: when the run is validated.
        stop: function that says whether the run shall stop; the run asks it before each step.
        console: where to write; None is standard error.
        clock: gives the time in seconds; only differences count.
    """

    def __init__(
        self,
        steps: int,
        validation: Validation,
        stop: Callable[[], bool],
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps = steps
        self._validation = validation
        self._recent: deque[float] = deque(maxlen=_RECENT_STEPS)
        self._done = 0
        self._loss = 0.0
        self._validated: ValidationEntry | None = None
        columns = (TextColumn("step {task.completed} of {task.total}"), BarColumn(), TextColumn("{task.description}"))
        super().__init__(*columns, console=console, clock=clock)
        self._task = self.bars.add_task("", total=steps)
        self.callbacks = TrainingCallbacks(step=self._step, validated=self._was_validated, notice=self.say, stop=stop)

    @property
    def seconds_left(self) -> float:
        """Seconds to the end at the pace of the last steps, each validation taking as long as the last one."""
        left = (self._steps - self._done) * sum(self._recent) / max(1, len(self._recent))
        if self._validated is None:
            return left
        return left + self._validation.count(self._done, self._steps) * self._validated.seconds

    def _step(self, entry: StepEntry) -> None:
        self._recent.append(entry.seconds)
        self._done, self._loss = entry.step + 1, entry.loss
        self.bars.update(self._task, completed=self._done, description=self._numbers())
        if not self.interactive and self.due(SECONDS_BETWEEN_LINES):
            self.say(f"step {self._done} of {self._steps}, {self._numbers()}")

    def _was_validated(self, validated: ValidationEntry) -> None:
        self._validated = validated
        score = validated.score
        parts = (("organs", score.organs), ("tumor", score.tumor), ("ema", validated.mean))
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in parts if value is not None)
        best = ", the best so far" if validated.best else ""
        seconds = f"in {validated.seconds:.0f} s"
        self.say(f"validation after step {validated.step} {seconds}: {numbers or 'no class to judge'}{best}")

    def _numbers(self) -> str:
        pace = len(self._recent) / max(sum(self._recent), 1e-9)
        speed = f"{pace:.2f} steps/s" if pace >= 1 else f"{1 / pace:.2f} s/step"
        score = "" if self._validated is None or self._validated.mean is None else f", ema {self._validated.mean:.4f}"
        return f"loss {self._loss:.3f}, {speed}, {_in_words(self.seconds_left)} left{score}"


def _in_words(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
