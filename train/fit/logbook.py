"""Everything that a run writes into its folder and reports while it goes on."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from flare_infer.files.write_whole import remove_parts
from train.fit.state import State
from train.fit.validate import ValidatedCase
from train.recipes.recipe import TrainingRecipe
from train.record.callbacks import TrainingCallbacks
from train.record.journal import StepEntry, StepJournal, ValidationEntry, ValidationJournal
from train.record.pictures import PictureFolder
from train.record.score import Score
from train.record.tensorboard import TensorBoardLog

_INSTALL: Final = 'pip install "flare-infer[train]"'


class Logbook:
    """Checkpoints, tables, curves and pictures of a run.

    Entries of an earlier process about steps after the restored state are dropped.

    Args:
        run: folder of the run; created if it does not exist.
        recipe: recipe of the run.
        state: state of the run, new or restored.
        callbacks: functions that report steps, validations and notices.
        writes: whether this process writes and reports; True in exactly one process.
    """

    def __init__(
        self, run: Path, recipe: TrainingRecipe, state: State, callbacks: TrainingCallbacks, *, writes: bool
    ) -> None:
        self._run = run
        self._recipe = recipe
        self._state = state
        self._callbacks = callbacks
        self._writes = writes
        self._curves: TensorBoardLog | None = None
        if not writes:
            return
        run.mkdir(parents=True, exist_ok=True)
        remove_parts(run, "*.part")
        self._journal = StepJournal(run, state.step)
        self._validations = ValidationJournal(run, state.standing.step, recipe.spec.label_set)
        self._pictures: PictureFolder | None = None
        if find_spec("PIL") is None:
            callbacks.notice(f"no pictures of validation cases, Pillow is not installed: {_INSTALL}")
        else:
            self._pictures = PictureFolder(run)
        try:
            self._curves = TensorBoardLog(run, state.step, state.standing.step, recipe.spec.labels)
        except ImportError:
            callbacks.notice(f"no curves for TensorBoard, it is not installed: {_INSTALL}")

    def step(self, entry: StepEntry) -> None:
        """Record a step; the state has counted it already."""
        if self._writes:
            self._journal.write(entry)
            if self._curves is not None:
                self._curves.step(entry, self._recipe.batch)
            self._callbacks.step(entry)

    def validated(self, results: Sequence[ValidatedCase], score: Score, seconds: float) -> None:
        """Record a validation that the state has taken up; then save the checkpoint, so that it is not repeated."""
        if not self._writes:
            return
        standing = self._state.standing
        validated = ValidationEntry(
            step=self._state.step, seconds=seconds, score=score, mean=standing.mean, best=standing.is_best
        )
        if standing.is_best:
            self._state.save_best(self._run, self._recipe)
        self._validations.write(validated)
        pictures = {}
        if self._pictures is not None:
            pictures = {result.case: result.picture for result in results if result.picture is not None}
            self._pictures.keep(validated.step, standing.best_step, pictures)
        if self._curves is not None:
            self._curves.validated(validated, pictures)
        self.save()
        self._callbacks.validated(validated)

    def save(self) -> None:
        """Replace the checkpoint by the state, unless a parameter of its network is not finite."""
        if self._writes and self._state.finite:
            self._state.save(self._run, self._recipe)

    def close(self) -> None:
        """Write everything that is still buffered."""
        if self._curves is not None:
            self._curves.close()
