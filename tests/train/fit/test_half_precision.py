"""Gradients in half precision: finite, and those of full precision (docs/decisions/0004).

Before every pass memory is filled with huge numbers and freed, so that a kernel that reads what it never wrote shows.
"""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from flare_infer.labels import KNOWN_BACKGROUND
from flare_infer.model.network import Convolution, Norm, UNet
from train.loss.deep_supervision import deep_supervision_loss
from train.recipes.recipe import isotropic_network

CLASSES = 15


def leave_garbage() -> None:
    garbage = [torch.full((2**power,), 3e38) for power in range(10, 22)]
    del garbage


def gradients(layer: torch.nn.Module, inputs: Tensor, upward: Tensor) -> list[Tensor]:
    """Gradients of the inputs and of the parameters under autocast."""
    inputs = inputs.clone().requires_grad_()
    leave_garbage()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = layer(inputs)
    leave_garbage()
    return list(torch.autograd.grad(outputs, [inputs, *layer.parameters()], upward.to(outputs.dtype)))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_gradients_of_a_convolution_are_those_of_full_precision(depth: int) -> None:
    torch.manual_seed(depth)
    inputs = torch.randn(2, 32, depth, 4, 4).bfloat16()
    upward = torch.randn(2, 32, depth, 4, 4).bfloat16()
    layer = Convolution(32, 32, 3, padding=1)
    exact_inputs = inputs.double().requires_grad_()
    weight, bias = (parameter.detach().double().requires_grad_() for parameter in layer.parameters())
    exact = torch.autograd.grad(
        functional.conv3d(exact_inputs, weight, bias, padding=1), [exact_inputs, weight, bias], upward.double()
    )
    for half, full in zip(gradients(layer, inputs, upward), exact, strict=True):
        assert (half.double() - full).abs().max() < 0.02 * full.abs().max()


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 2, 2), (2, 4, 4), (4, 4, 4)])
@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (50.0, 0.5), (300.0, 1.0), (-2.5, 0.0)])
def test_gradients_of_a_norm_are_those_of_full_precision(
    shape: tuple[int, int, int], mean: float, deviation: float
) -> None:
    """Few voxels, constant ones, and small differences about a large mean."""
    torch.manual_seed(0)
    inputs = (torch.randn(2, 8, *shape) * deviation + mean).bfloat16()
    upward = torch.randn(2, 8, *shape).bfloat16()
    layer = Norm(8)
    exact_inputs = inputs.double().requires_grad_()
    weight, bias = (parameter.detach().double().requires_grad_() for parameter in layer.parameters())
    normalized = functional.instance_norm(exact_inputs, weight=weight, bias=bias, eps=Norm.EPSILON)
    exact = torch.autograd.grad(normalized, [exact_inputs, weight, bias], upward.double())
    for half, full in zip(gradients(layer, inputs, upward), exact, strict=True):
        assert (half.double() - full).abs().max() <= 0.02 * full.abs().max() + 1e-3


@pytest.mark.parametrize("constant", [False, True])
def test_a_bottleneck_of_few_voxels_has_finite_gradients(constant: bool) -> None:
    torch.manual_seed(0)
    network = UNet(isotropic_network((8, 16, 16, 16)), CLASSES)
    for _ in range(6):
        images = torch.full((2, 1, 8, 32, 32), -2.5) if constant else torch.randn(2, 1, 8, 32, 32)
        labels = torch.randint(0, 4, (2, 8, 32, 32)).to(torch.uint8)
        labels[:, :2] = KNOWN_BACKGROUND
        leave_garbage()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            stages = network.deep_supervision(images)
        loss = deep_supervision_loss(stages, labels, [(1, 2, 3)] * 2)
        leave_garbage()
        found = torch.autograd.grad(loss, [*network.parameters()])
        largest = max(gradient.abs().max().item() for gradient in found)
        assert largest < 1e3
