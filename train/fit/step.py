"""One step: forward, loss, backward, update."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flare_infer.backends.device import autocast_type
from flare_infer.model.network import UNet
from train.augment.patch import Patch
from train.fit.ranks import Ranks
from train.fit.state import State
from train.loss.deep_supervision import deep_supervision_loss
from train.recipes.recipe import TrainingRecipe
from train.recipes.schedule import poly_learning_rate


class DeeplySupervised(nn.Module):
    """A network whose `forward` returns all decoder stages, as distributed training needs it to average gradients."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch_nczyx: Tensor) -> list[Tensor]:
        """Logits of every decoder stage, full resolution first."""
        return self.network.deep_supervision(batch_nczyx)


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """The result of one step.

    Attributes:
        loss: loss of the whole batch.
        own_loss: loss of the patches of this process.
        gradient_norm: norm of the gradient before clipping; NaN if the loss is not finite.
    """

    loss: float
    own_loss: float
    gradient_norm: float

    @property
    def stepped(self) -> bool:
        """Whether the network changed."""
        return math.isfinite(self.gradient_norm)


def train_step(
    recipe: TrainingRecipe, state: State, model: nn.Module, patches: Sequence[Patch], ranks: Ranks
) -> StepResult:
    """Train one step on some patches.

    A loss that is not finite changes nothing; a gradient that is not finite changes only the scale of the loss. The
    gradient is clipped after this scale is divided out. With several processes, loss and gradient are averaged over all
    before they are checked, so that all processes act alike.
    """
    for group in state.optimizer.param_groups:
        group["lr"] = poly_learning_rate(recipe.optimization, state.step, recipe.steps)
    own = batch_loss(recipe, model, patches)
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(own).backward()  # type: ignore[no-untyped-call]
    loss = ranks.totals([own.item()])[0] / ranks.count
    if not math.isfinite(loss):
        return StepResult(loss=loss, own_loss=own.item(), gradient_norm=math.nan)
    state.scaler.unscale_(state.optimizer)
    norm = float(torch.nn.utils.clip_grad_norm_(state.network.parameters(), recipe.optimization.gradient_clip))
    if math.isfinite(norm):
        state.scaler.step(state.optimizer)
    state.scaler.update()
    return StepResult(loss=loss, own_loss=own.item(), gradient_norm=norm)


def batch_loss(recipe: TrainingRecipe, model: nn.Module, patches: Sequence[Patch]) -> Tensor:
    """Mean loss of some patches, computed in half precision on devices that have one."""
    device = next(model.parameters()).device
    images_nczyx = torch.stack([patch.image_zyx for patch in patches])[:, None].to(device)
    labels_nzyx = torch.stack([patch.labels_zyx for patch in patches]).to(device)
    half = autocast_type(device)
    with torch.autocast(device.type, dtype=half, enabled=half is not None):
        stages = model(images_nczyx)
    annotated = [patch.annotated for patch in patches]
    return deep_supervision_loss(stages, labels_nzyx, annotated, recipe.class_weights, recipe.partial_loss)
