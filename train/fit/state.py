"""Everything that changes while a run goes on."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

import torch
from torch import nn

from flare_infer.backends.device import autocast_type
from flare_infer.files.record import plain_fields, record_from_fields
from flare_infer.model.network import UNet
from train.fit.checkpoint import (
    BEST_FILE,
    Checkpoint,
    Origin,
    load_checkpoint,
    refuse_changed_recipe,
    save_checkpoint,
)
from train.fit.sources import TrainingSources
from train.recipes.recipe import TrainingRecipe
from train.recipes.schedule import make_optimizer
from train.record.score import Standing

_NEGATIVE_SLOPE: Final = 0.01
"""Slope of the network's leaky ReLU below 0, which He's gain depends on."""


def initialize_he_normal(network: nn.Module) -> None:
    """Draw the weights of every convolution anew, as nnU-Net does (docs/paper.md, Initialization); biases become 0.

    They are normal around 0 with deviation sqrt(2 / (1 + 0.01^2) / fan), where fan is the number of voxels of the
    kernel times the weight's second axis: inputs of a convolution, outputs of a transposed one. Norms stay as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, a=_NEGATIVE_SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@dataclass(kw_only=True)
class State:
    """The state of a run after some steps.

    Attributes:
        network: the network.
        optimizer: the optimizer of its parameters.
        scaler: scales the loss for gradients in float16; without effect in other precisions.
        step: number of steps done.
        skipped: number of steps whose gradient was not finite.
        standing: results of the validations so far.
        origin: the weights that the run began with, see `initial_weights`; empty if these were random.
        sources: the cases that it learned from in order of time, the present ones last.
    """

    network: UNet
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    skipped: int = 0
    standing: Standing = field(default_factory=Standing)
    origin: Origin = field(default_factory=dict)
    sources: tuple[TrainingSources, ...] = ()

    @classmethod
    def begin(cls, recipe: TrainingRecipe, device: torch.device) -> Self:
        """The state before the first step; it depends on the recipe only."""
        torch.manual_seed(recipe.seed)
        network = UNet(recipe.spec.network, recipe.spec.classes)
        initialize_he_normal(network)
        network.to(device).train()
        return cls(
            network=network,
            optimizer=make_optimizer(network.parameters(), recipe.optimization),
            scaler=torch.amp.GradScaler(device.type, enabled=autocast_type(device) is torch.float16),
        )

    def restore(self, run: Path, recipe: TrainingRecipe) -> None:
        """Restore this state from the run's checkpoint, if there is one; see `checkpoint` for each field.

        Raises:
            DatasetError: if the checkpoint is damaged, or of another recipe.
        """
        checkpoint = load_checkpoint(run)
        if checkpoint is None:
            return
        refuse_changed_recipe(run, checkpoint, recipe)
        self.network.load_state_dict(checkpoint.network)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        if checkpoint.scaler:
            self.scaler.load_state_dict(checkpoint.scaler)
        self.step, self.skipped = checkpoint.step, checkpoint.skipped
        self.standing = Standing(**checkpoint.standing)
        self.origin = checkpoint.origin
        self.sources = tuple(record_from_fields(TrainingSources, fields) for fields in checkpoint.sources)

    def save(self, run: Path, recipe: TrainingRecipe) -> None:
        """Replace the run's checkpoint by this state."""
        save_checkpoint(run, self._checkpoint(recipe))

    def save_best(self, run: Path, recipe: TrainingRecipe) -> None:
        """Replace the run's best network by this one."""
        save_checkpoint(run, replace(self._checkpoint(recipe), optimizer={}, scaler={}), BEST_FILE)

    def validation_due(self, recipe: TrainingRecipe) -> bool:
        """Whether the present network has to be validated and was not yet."""
        return self.standing.step < self.step and recipe.validation.due(self.step, recipe.steps)

    @property
    def finite(self) -> bool:
        """Whether every parameter is a finite number."""
        return all(bool(parameter.isfinite().all()) for parameter in self.network.parameters())

    def _checkpoint(self, recipe: TrainingRecipe) -> Checkpoint:
        return Checkpoint(
            step=self.step,
            network=self.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            skipped=self.skipped,
            recipe=recipe.to_json(),
            scaler=self.scaler.state_dict(),
            standing=plain_fields(self.standing),
            origin=self.origin,
            sources=[plain_fields(sources) for sources in self.sources],
        )
