"""Validation cases through the network that is being trained, with inference's own windows."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flare_eval.accuracy.dice import dice_of_masks
from flare_infer.backends.device import autocast_type
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
    """What the network made of one validation case.

    Attributes:
        case: its name.
        dice: DSC of every class that could be judged.
        picture: truth beside prediction, (rows, columns, 3) of uint8; None if none was wanted.
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
    """Segment and judge validation cases, on the model's grid; they are divided among the processes.

    No random number is drawn and no parameter changes, so training goes on as if nothing had been.

    Args:
        network: the live network; left as it was.
        spec: the model, with its `untrained` filled in.
        cases: the same in every process.
        ranks: all processes.
        stop: asked before each window.
        pictured: how many cases are drawn, the first ones.

    Returns:
        a result for each case, in every process; None if one of them was asked to stop before all were judged.
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
                    continue  # all processes leave together, where they ask each other
                truth_zyx = np.asarray(case.labels_zyx)
                dice = dice_of_case(predicted_zyx, truth_zyx, case.annotated, spec)
                picture = draw_overlay(case, truth_zyx, predicted_zyx, spec) if number < pictured else None
                results.append(ValidatedCase(case=case.name, dice=dice, picture=picture))
    if ranks.any(stopped):
        return None
    return sorted(ranks.gather(results), key=lambda result: result.case)


class _StoppedError(Exception):
    """A case was given up because somebody asked to stop."""


def segment(
    network: UNet, spec: ModelSpec, case: PreparedCase, stop: Callable[[], bool] = lambda: False
) -> npt.NDArray[np.uint8]:
    """Codes (z, y, x) of a prepared case on the model's grid, by sliding windows and decoder of inference.

    Raises:
        _StoppedError: if `stop`, asked before each window, says so.
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
    """DSC of every class that a case can judge.

    Left out are classes that it does not annotate, those that are neither in the truth nor predicted, and those that
    the model is not trained to predict.
    """
    dice = {}
    for code in sorted(set(annotated) & set(spec.predicted)):
        predicted, truth = predicted_zyx == code, truth_zyx == code
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
