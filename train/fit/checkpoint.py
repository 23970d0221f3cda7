"""What is kept of a run, so that it can go on.

=================  ==========================================================================
field              who wins on resume
=================  ==========================================================================
step               the checkpoint: steps done
network            the checkpoint
optimizer          the checkpoint's momenta; the learning rate is set anew from the schedule
skipped            the checkpoint: steps passed over for a gradient that was not finite
recipe             must equal the recipe that resumes, or the run is refused; fields it
                   does not know yet count as their defaults
=================  ==========================================================================

Randomness needs no state: every sample is drawn from seed, step and index.
"""

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch

from flare_infer.errors import DatasetError

CHECKPOINT_FILE: Final = "checkpoint.pt"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a run after some steps; `recipe` is the recipe as plain JSON."""

    step: int
    network: dict[str, Any]
    optimizer: dict[str, Any]
    skipped: int
    recipe: str


def save_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    """Replace the run's checkpoint; the old one stands until the new one is whole."""
    part = run / f"{CHECKPOINT_FILE}.part"
    torch.save(vars(checkpoint), part)
    part.replace(run / CHECKPOINT_FILE)


def load_checkpoint(run: Path) -> Checkpoint | None:
    """The run's checkpoint, on the CPU; None if there is none yet.

    Raises:
        DatasetError: if the file is damaged or not one of ours.
    """
    path = run / CHECKPOINT_FILE
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(**content)
    except (RuntimeError, TypeError, ValueError, EOFError, OSError, UnpicklingError) as error:
        raise DatasetError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); delete it to start again"
        ) from error
