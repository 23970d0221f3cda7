"""What is shown while a run goes on."""

import io

import pytest
from rich.console import Console

from train.recipes.validation import Validation
from train.record.journal import StepEntry, ValidationEntry
from train.record.progress import TrainingProgress
from train.record.score import mean_score

NEVER = Validation(every_steps=0)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def entry(step: int, seconds: float, loss: float = 1.25) -> StepEntry:
    return StepEntry(step=step, loss=loss, learning_rate=0.1, gradient_norm=1.0, seconds=seconds, skipped=False)


def validated(step: int, seconds: float) -> ValidationEntry:
    return ValidationEntry(step=step, seconds=seconds, score=mean_score([{1: 0.5, 14: 0.25}]), mean=0.4, best=True)


def never() -> bool:
    return False


def test_a_log_gets_a_line_now_and_then() -> None:
    text, clock = io.StringIO(), Clock()
    with TrainingProgress(600, NEVER, never, Console(file=text), clock) as terminal:
        for step in range(100):
            clock.now += 2.0
            terminal.callbacks.step(entry(step, seconds=2.0))
    lines = text.getvalue().splitlines()
    assert len(lines) == 6
    assert lines[0] == "step 15 of 600, loss 1.250, 2.00 s/step, 20 min left"
    assert [line.split(" of")[0] for line in lines] == [f"step {step}" for step in (15, 30, 45, 60, 75, 90)]


def test_a_validation_is_a_line_and_its_time_is_counted() -> None:
    text = io.StringIO()
    with TrainingProgress(1000, Validation(every_steps=300), never, Console(file=text), Clock()) as terminal:
        terminal.callbacks.step(entry(299, seconds=0.5))
        assert terminal.seconds_left == pytest.approx(700 * 0.5)
        terminal.callbacks.validated(validated(300, seconds=60.0))
        # After 600, 900 and 1000 steps.
        assert terminal.seconds_left == pytest.approx(700 * 0.5 + 3 * 60)
        terminal.callbacks.step(entry(999, seconds=0.5))
        assert terminal.seconds_left == 0
    assert (
        text.getvalue()
        == "validation after step 300 in 60 s: organs 0.5000, tumor 0.2500, ema 0.4000, the best so far\n"
    )


def test_the_time_left_follows_the_last_steps() -> None:
    terminal = TrainingProgress(1000, NEVER, never, Console(file=io.StringIO()), Clock())
    for step in range(100):
        terminal.callbacks.step(entry(step, seconds=9.0 if step < 50 else 1.0))
    assert terminal.seconds_left == pytest.approx(900)


def test_a_terminal_gets_a_bar_and_notices() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    with TrainingProgress(10, NEVER, never, console, Clock()) as terminal:
        terminal.callbacks.step(entry(3, seconds=0.25))
        terminal.callbacks.notice("something [is] missing")
    shown = text.getvalue()
    assert "step 4 of 10" in shown
    assert "loss 1.250, 4.00 steps/s, 2 s left" in shown
    assert "something [is] missing" in shown


@pytest.mark.parametrize(
    ("every", "done", "steps", "left"),
    [(0, 0, 100, 0), (30, 0, 100, 4), (30, 29, 100, 4), (30, 30, 100, 3), (50, 50, 100, 1), (30, 100, 100, 0)],
)
def test_how_many_validations_are_to_come(every: int, done: int, steps: int, left: int) -> None:
    validation = Validation(every_steps=every)
    assert validation.count(done, steps) == left
    assert sum(validation.due(step, steps) for step in range(done + 1, steps + 1)) == left
