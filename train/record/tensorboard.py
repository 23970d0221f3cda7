"""The curves and pictures of a run for TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from flare_infer.labels import NAMES
from train.record.journal import StepEntry, ValidationEntry

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

TENSORBOARD_FOLDER: Final = "tensorboard"


class TensorBoardLog:
    """Writes event files to `tensorboard/training` and `tensorboard/validation` in a run's folder.

    Steps are numbered by the steps done, from 1: those that a killed run logged after its last checkpoint are purged.

    Args:
        run: folder of the run.
        steps_done: number of steps done at its checkpoint.
        validated: number of steps done at the last validation recorded in the checkpoint.
        names: name of each class, background first.

    Raises:
        ImportError: if TensorBoard is not installed.
    """

    def __init__(self, run: Path, steps_done: int, validated: int, names: Sequence[str] = NAMES) -> None:
        from torch.utils.tensorboard import SummaryWriter

        def writer(name: str, kept: int) -> "SummaryWriter":
            return SummaryWriter(str(run / TENSORBOARD_FOLDER / name), purge_step=kept + 1)

        # Each purges from its own step: a run may end between a step and the validation after it.
        self._names = names
        self._training = writer("training", steps_done)
        self._validation = writer("validation", validated)

    def step(self, entry: StepEntry, batch: int) -> None:
        """Log one step; `batch` is its number of patches."""
        values = {
            "loss": entry.loss,
            "learning rate": entry.learning_rate,
            "gradient norm": entry.gradient_norm,
            "samples per second": batch / entry.seconds,
            "pasted tumors": entry.pasted,
        }
        for name, value in values.items():
            self._training.add_scalar(name, value, entry.step + 1)

    def validated(self, validated: ValidationEntry, pictures: Mapping[str, npt.NDArray[np.uint8]]) -> None:
        """Log one validation."""
        score = validated.score
        values = {f"dice/{self._names[code]}": value for code, value in score.dice.items()}
        known = {"organs": score.organs, "score": score.score, "exponential mean": validated.mean}
        values |= {name: value for name, value in known.items() if value is not None}
        for name, value in values.items():
            self._validation.add_scalar(name, value, validated.step)
        for case, pixels in pictures.items():
            self._validation.add_image(case, pixels, validated.step, dataformats="HWC")
        self._validation.flush()

    def close(self) -> None:
        """Write everything that is still buffered."""
        self._training.close()
        self._validation.close()
