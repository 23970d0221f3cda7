"""Validation of the network during training, with the sliding windows of inference."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flare_eval.accuracy.dice import dice_of_masks
from flare_infer.backends.device import autocast_type
from flare_infer.labels import IGNORED
from flare_infer.model.network import UNet
from flare_infer.model.spec import ModelSpec
from flare_infer.segment.decode import Decoder
from flare_infer.segment.memory_plan import Plan
from flare_infer.segment.sliding import Sweep
from train.fit.ranks import Ranks
from train.record.pictures import draw_overlay
from train.store.store import PreparedCase


@dataclass(frozen=True, kw_only=True)
class ValidatedCase:
    """The result of one validation case.

    Attributes:
        case: name of the case.
        dice: DSC of every class that could be judged, by code.
        picture: truth beside prediction (rows, columns, 3), uint8; None if the case was not drawn.
    """

    case: str
    dice: dict[int, float]
    picture: npt.NDArray[np.uint8] | None = None


def validate(
    network: UNet,
    spec: ModelSpec,
    cases: Sequence[PreparedCase],
    ranks: Ranks,
    stop: Callable[[], bool] = lambda: False,
    pictured: int = 0,
) -> list[ValidatedCase] | None:
    """Segment and judge validation cases on the model's grid; the processes share the cases.

    No random number is drawn and no parameter changes, so training is not influenced.

    Args:
        network: the network; it is in training mode again afterward.
        spec: specification of the model, with its `untrained` filled in.
        cases: the validation cases, the same in every process.
        ranks: this process among all processes.
        stop: function called before each window; True ends the validation.
        pictured: number of cases to draw, the first ones.

    Returns:
        a result for each case, in every process; None if any process was asked to stop before the end.
    """
    results = []
    stopped = False
    with _evaluating(network):
        for first in range(0, len(cases), ranks.count):
            if ranks.any(stopped or stop()):
                return None
            number = first + ranks.rank
            if number < len(cases):
                case = cases[number]
                try:
                    predicted_zyx = segment(network, spec, case, stop)
                except _StoppedError:
                    stopped = True
                    continue  # all processes end together at the next check
                truth_zyx = np.asarray(case.labels_zyx)
                dice = dice_of_case(predicted_zyx, truth_zyx, case.annotated, spec)
                picture = draw_overlay(case, truth_zyx, predicted_zyx, spec) if number < pictured else None
                results.append(ValidatedCase(case=case.name, dice=dice, picture=picture))
    if ranks.any(stopped):
        return None
    return sorted(ranks.gather(results), key=lambda result: result.case)


class _StoppedError(Exception):
    """A case was abandoned because of a request to stop."""


def segment(
    network: UNet, spec: ModelSpec, case: PreparedCase, stop: Callable[[], bool] = lambda: False
) -> npt.NDArray[np.uint8]:
    """Segment a prepared case with the sliding windows and the decoder of inference.

    Args:
        network: the network.
        spec: specification of the model.
        case: the prepared case.
        stop: function called before each window.

    Returns:
        codes (z, y, x) on the model's grid, uint8.

    Raises:
        _StoppedError: if `stop` returns True.
    """
    device = next(network.parameters()).device
    half = autocast_type(device)

    def run(batch_nczyx: Tensor) -> Tensor:
        if stop():
            raise _StoppedError
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            logits: Tensor = network(batch_nczyx)
        return logits.float()

    image_zyx = torch.from_numpy(np.asarray(case.image_zyx).astype(np.float32)).to(device)
    labels_zyx = np.empty(case.shape, dtype=np.uint8)
    decoder = Decoder(labels_zyx, case.shape, spec.predicted)
    with torch.inference_mode():
        for slab_czyx in Sweep(image_zyx, run, spec, Plan()).slabs():
            decoder.take(slab_czyx)
    return labels_zyx


def dice_of_case(
    predicted_zyx: npt.NDArray[np.uint8],
    truth_zyx: npt.NDArray[np.uint8],
    annotated: Collection[int],
    spec: ModelSpec,
) -> dict[int, float]:
    """DSC by code of every class that can be judged in a case.

    Classes are left out if the case does not annotate them, if they are neither in the truth nor predicted, or if the
    model is not trained for them. Voxels to be ignored are not judged.
    """
    dice = {}
    judged = truth_zyx != IGNORED
    for code in sorted(set(annotated) & set(spec.predicted)):
        predicted, truth = (predicted_zyx == code) & judged, truth_zyx == code
        if predicted.any() or truth.any():
            dice[code] = float(dice_of_masks(predicted, truth))
    return dice


@contextmanager
def _evaluating(network: UNet) -> Iterator[None]:
    network.eval()
    try:
        yield
    finally:
        network.train()
