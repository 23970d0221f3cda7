"""The state that a run begins with."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from flare_infer.model.network import Norm
from train.fit.state import State
from train.recipes.recipe import TrainingRecipe, lite

CPU = torch.device("cpu")


def recipe_with(block: str, seed: int = 2023) -> TrainingRecipe:
    spec = lite().spec
    return replace(lite(), seed=seed, spec=replace(spec, network=replace(spec.network, block=block)))


@pytest.mark.parametrize("block", ["plain", "residual"])
def test_a_run_begins_he_normal(block: str) -> None:
    network = State.begin(recipe_with(block), CPU).network
    judged = set()
    for name, module in network.named_modules():
        if isinstance(module, Norm):
            assert bool((module.weight == 1).all())
            assert bool((module.bias == 0).all())
        if not isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            continue
        assert module.bias is None or bool((module.bias == 0).all()), name
        # By hand: gain sqrt(2 / (1 + 0.01^2)); PyTorch's fan of a transposed convolution counts its outputs.
        channels = module.out_channels if isinstance(module, nn.ConvTranspose3d) else module.in_channels
        expected = math.sqrt(2 / (1 + 0.01**2) / (channels * math.prod(module.kernel_size)))
        weights = module.weight.detach()
        # Five standard errors of a deviation; PyTorch's default is 1 / sqrt(6) of it.
        assert float(weights.square().mean().sqrt()) == pytest.approx(expected, rel=5 / math.sqrt(2 * weights.numel()))
        judged.add(name.split(".")[0])
        if weights.numel() > 10_000:  # a uniform distribution ends at 1.73 deviations
            assert float(weights.abs().max()) > 3 * expected
    assert judged == {"encoder", "upward", "decoder", "heads"} | ({"stem"} if block == "residual" else set())


def test_the_first_weights_depend_on_the_seed_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        parameters = State.begin(recipe_with("plain", seed), CPU).network.parameters()
        return torch.cat([parameter.detach().flatten() for parameter in parameters])

    first = weights(1)
    torch.rand(7)
    assert torch.equal(weights(1), first)
    assert not torch.equal(weights(2), first)
