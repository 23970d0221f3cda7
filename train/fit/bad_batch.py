"""The file that a run leaves for inspection when its loss is not finite."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from flare_infer.errors import FlareError
from flare_infer.files.write_whole import whole_file
from train.batches.samples import Sample
from train.fit.ranks import Ranks

BAD_BATCH_FILE: Final = "bad_batch.pt"


def save_bad_batch(run: Path, step: int, loss: float, batch: Sequence[Sample], ranks: Ranks) -> FlareError:
    """Write the samples of a step whose loss is not finite; all processes must call this together.

    The file holds a dictionary for `torch.load(..., weights_only=True)`: `step` (counted from 0), `loss`, `cases`,
    `annotated` (codes of each sample), `images_nzyx` (float32) and `labels_nzyx` (uint8). Among several processes it is
    written by the first one whose own loss is not finite, with its share of the batch.

    Args:
        run: folder of the run.
        step: number of the step, counted from 0.
        loss: loss of this process's samples.
        batch: this process's samples.
        ranks: this process among all processes.

    Returns:
        the error to raise, the same in all processes; it names step, cases, file, and what to do.
    """
    path = run / BAD_BATCH_FILE
    _, rank, cases = min(ranks.gather([(math.isfinite(loss), ranks.rank, [sample.case for sample in batch])]))
    if rank == ranks.rank:
        content = {
            "step": step,
            "loss": loss,
            "cases": cases,
            "annotated": [list(sample.patch.annotated) for sample in batch],
            "images_nzyx": torch.stack([sample.patch.image_zyx for sample in batch]),
            "labels_nzyx": torch.stack([sample.patch.labels_zyx for sample in batch]),
        }
        with whole_file(path) as part, part.open("wb") as file:
            torch.save(content, file)
    return FlareError(
        f"{run}: the loss of step {step} is not finite, on patches of {', '.join(cases)}; they are kept in {path}, and "
        "checkpoint.pt holds the last good network. Look at these cases; if they are sound, start again in "
        "another folder with a lower optimization.learning_rate, since the same command would meet the same step"
    )
