"""The optimizer and the schedule of its learning rate."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from flare_infer.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """The optimizer and its schedule.

    Attributes:
        method: `sgd` is SGD with Nesterov momentum, as in the paper; `adamw` gets further in a short run.
        learning_rate: learning rate at the first step.
        momentum: momentum of SGD.
        weight_decay: weight decay, as the method defines it.
        power: exponent of the poly schedule.
        warmup: number of steps over which the learning rate rises linearly from zero.
        gradient_clip: largest norm of the gradient (12; docs/paper.md, Optimizer).
    """

    method: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.99
    weight_decay: float = 3e-5
    power: float = 0.9
    warmup: int = 0
    gradient_clip: float = 12.0

    def __post_init__(self) -> None:
        if self.method not in {"sgd", "adamw"} or self.learning_rate <= 0 or self.gradient_clip <= 0:
            raise SpecError(
                f"optimization needs sgd or adamw and positive learning_rate and gradient_clip, found {self}"
            )


def poly_learning_rate(optimization: Optimization, step: int, steps: int) -> float:
    """Learning rate of a step (counted from 0): the first one times (1 - step/steps)^power, after the warm-up.

    The schedule runs over the configured length: the paper's formula with 1000 epochs is undefined in its last 200
    (docs/paper.md, Optimizer).
    """
    poly: float = (1 - step / steps) ** optimization.power
    rise = min(1.0, (step + 1) / (optimization.warmup + 1))
    return optimization.learning_rate * poly * rise


def make_optimizer(parameters: Iterable[nn.Parameter], optimization: Optimization) -> torch.optim.Optimizer:
    """Create the optimizer, set to the first learning rate."""
    if optimization.method == "adamw":
        return torch.optim.AdamW(parameters, lr=optimization.learning_rate, weight_decay=optimization.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=optimization.learning_rate,
        momentum=optimization.momentum,
        nesterov=True,
        weight_decay=optimization.weight_decay,
    )
