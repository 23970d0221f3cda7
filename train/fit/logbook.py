"""Everything that is written into a run's folder, and told to people, while it goes on."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from flare_infer.files.write_whole import remove_parts
from train.fit.state import State
from train.fit.validate import CaseResult
from train.recipes.recipe import Recipe
from train.record.events import Watch
from train.record.journal import Entry, Journal, Validated, ValidationJournal
from train.record.pictures import Pictures
from train.record.score import Score
from train.record.tensorboard import Board


class Logbook:
    """Checkpoints, tables, curves and pictures of a run.

    Whatever an earlier process wrote about later steps than the state knows is dropped.

    Args:
        run: the folder; made if need be.
        recipe: what is trained.
        state: the run, as it was begun or restored.
        watch: who is told.
        writes: False for all processes but one, in which nothing here does anything.
    """

    def __init__(self, run: Path, recipe: Recipe, state: State, watch: Watch, *, writes: bool) -> None:
        self._run = run
        self._recipe = recipe
        self._state = state
        self._watch = watch
        self._writes = writes
        self._board: Board | None = None
        if not writes:
            return
        run.mkdir(parents=True, exist_ok=True)
        remove_parts(run, "*.part")
        self._journal = Journal(run, state.step)
        self._validations = ValidationJournal(run, state.standing.step)
        self._pictures: Pictures | None = None
        if find_spec("PIL") is None:
            watch.notice('no pictures of validation cases, Pillow is not installed: pip install "flare-infer[train]"')
        else:
            self._pictures = Pictures(run)
        try:
            self._board = Board(run, state.step, state.standing.step)
        except ImportError:
            watch.notice('no curves for TensorBoard, it is not installed: pip install "flare-infer[train]"')

    def step(self, entry: Entry) -> None:
        """One step, counted by the state already."""
        if self._writes:
            self._journal.write(entry)
            if self._board is not None:
                self._board.step(entry, self._recipe.batch)
            self._watch.step(entry)

    def validated(self, results: Sequence[CaseResult], score: Score, seconds: float) -> None:
        """One validation, judged by the state already; the checkpoint follows, so that it is not repeated."""
        if not self._writes:
            return
        standing = self._state.standing
        validated = Validated(
            step=self._state.step, seconds=seconds, score=score, mean=standing.mean, best=standing.is_best
        )
        if standing.is_best:
            self._state.save_best(self._run, self._recipe)
        self._validations.write(validated)
        pictures = {}
        if self._pictures is not None:
            pictures = {result.case: result.picture for result in results if result.picture is not None}
            self._pictures.keep(validated.step, standing.best_step, pictures)
        if self._board is not None:
            self._board.validated(validated, pictures)
        self.save()
        self._watch.validated(validated)

    def save(self) -> None:
        """Replace the checkpoint by the state, unless its network is no good: then the last good one stays."""
        if self._writes and self._state.finite:
            self._state.save(self._run, self._recipe)

    def close(self) -> None:
        """Write what is still waiting."""
        if self._board is not None:
            self._board.close()
